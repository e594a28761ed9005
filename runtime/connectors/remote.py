"""Files that are named by a URL, by fsspec: `s3://`, `gs://`, `https://`, `memory://`, whatever it has an implementation of.

Only what is no secret of a URL is shown: neither user nor password nor options, which may be a signature. What the file is,
is known by its size, its contents and, where the other side tells it, its ETag.
"""

from __future__ import annotations

import re
from typing import Any

from headrace.runtime.errors import ConfigError, SourceChanged

from ..text import kind_of, message_of, visible
from .input_file import RegularFile

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://")
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
_PACKAGES |= {"http": "aiohttp", "https": "aiohttp"}
"""What fsspec needs besides itself."""
_MARKS = ("ETag", "etag", "md5Hash", "content_md5", "checksum")
"""What other sides tell of the contents."""


def is_url(path: str) -> bool:
    """Whether it names a file elsewhere, and no file of this system.

    >>> is_url("s3://bucket/in.csv"), is_url("in/a.csv"), is_url("C:\\\\in.csv")
    (True, False, False)
    """
    return _URL.match(path) is not None


def shown(url: str) -> str:
    """A URL without what may be secret.

    >>> shown("https://ada:word@example.org/in.csv?X-Amz-Signature=abc")
    'https://example.org/in.csv'
    """
    # It takes a while, and files of this system need none of it (L46).
    from urllib.parse import urlsplit, urlunsplit

    parts = urlsplit(url)
    return visible(urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")))


class RemoteFile(RegularFile):
    """A file elsewhere, of which any part can be read."""

    def __init__(self, url: str, name: str) -> None:
        """Raises `ConfigError` where it cannot be read."""
        self._name = name
        self._at = 0
        fs, path = found(url)
        try:
            info = fs.info(path)
            if info.get("type") == "directory":
                raise ConfigError(f"{name}: is a folder, not a file; name its files, as {name.rstrip('/')}/*.csv")
            self._file = fs.open(path, "rb")
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(f"{name}: {why(error, url)}") from None
        self.mark = next((str(info[each]) for each in _MARKS if info.get(each)), None)
        size = info.get("size")
        if not isinstance(size, int) or not self._file.seekable():
            self._file.close()
            raise ConfigError(
                f"{name}: the server tells no size, or gives no part of a file, so that a run could not go on; fetch it"
                " first, and name the file"
            )
        self.size = size

    def read(self, n: int) -> bytes:
        data = self.at(self._at, n)
        self._at += len(data)
        if not data and self._at < self.size:
            raise SourceChanged(
                f"{self._name}: ends after {self._at:,} bytes and had {self.size:,} when it was opened: it was replaced"
                " while it was read"
            )
        return data

    def at(self, offset: int, n: int) -> bytes:
        if offset >= self.size:
            return b""
        try:
            self._file.seek(offset)
            data: bytes = self._file.read(n)
        except Exception as error:
            raise OSError(f"{self._name}: cannot be read: {why(error)}") from error
        return data

    def close(self) -> None:
        self._file.close()


def open_remote(url: str) -> object:
    """A file elsewhere, as Python has files. Raises `ConfigError`."""
    fs, path = found(url)
    try:
        return fs.open(path, "rb")
    except Exception as error:
        raise ConfigError(f"{shown(url)}: {why(error, url)}") from None


def found(url: str) -> tuple[Any, str]:
    """(the file system, the path in it) of a URL. Raises `ConfigError` where a package is missing."""
    try:
        import fsspec
    except ImportError:
        raise ConfigError(
            f"{shown(url)}: files that are named by a URL need the extra 'remote': pip install 'headrace[remote]'"
        ) from None
    scheme = url.partition("://")[0].lower()
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError:
        package = _PACKAGES.get(scheme)
        extra = "'headrace[s3]'" if package == "s3fs" else package
        how = f": pip install {extra}" if extra else ""
        raise ConfigError(f"{shown(url)}: a package for {scheme}:// is not installed{how}") from None
    except ValueError:
        raise ConfigError(f"{shown(url)}: {scheme}:// is no kind of URL that files are read from") from None
    except Exception as error:
        raise ConfigError(f"{shown(url)}: {why(error, url)}") from None
    return fs, path


def listed(pattern: str) -> list[str]:
    """The URLs that match a pattern, in their order. Raises `ConfigError`."""
    fs, path = found(pattern)
    try:
        return [str(fs.unstrip_protocol(each)) for each in sorted(fs.glob(path))]
    except Exception as error:
        raise ConfigError(f"{shown(pattern)}: {why(error, pattern)}") from None


def why(error: Exception, url: str = "") -> str:
    """Why a file elsewhere cannot be had, in words without secrets."""
    status = getattr(error.__cause__, "status", None)
    if isinstance(error, FileNotFoundError):
        return "no such file" if status in (None, 404, 410) else f"the server answers with the status {status}"
    if isinstance(error, PermissionError):
        return "may not be read: Permission denied (who asks is known by the environment, as the package for it says)"
    text = message_of(error).splitlines()
    said = text[0] if text else ""
    return f"cannot be read: {kind_of(error)}: {said.replace(url, shown(url)) if url else said}"
