"""Clients of HTTP and of services, as their pages say to use them, with their own retries switched off.

Each function makes one call to a `Target` and lets its exception out.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import urllib.request
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .failures import TIMEOUT_S, Target


def by_requests(target: Target) -> None:
    requests = import_module("requests")
    requests.get(target.url, timeout=TIMEOUT_S).raise_for_status()


def by_niquests(target: Target) -> None:
    niquests = import_module("niquests")
    niquests.get(target.url, timeout=TIMEOUT_S).raise_for_status()


def by_urllib(target: Target) -> None:
    urllib.request.urlopen(target.url, timeout=TIMEOUT_S).read()


def by_http_client(target: Target) -> None:
    kind = http.client.HTTPSConnection if target.tls else http.client.HTTPConnection
    connection = kind(target.host, target.port, timeout=TIMEOUT_S)
    connection.request("GET", "/")
    connection.getresponse().read()


def by_urllib3(target: Target) -> None:
    urllib3 = import_module("urllib3")
    with urllib3.PoolManager(retries=False) as pool:
        _ = pool.request("GET", target.url, timeout=TIMEOUT_S).data


def by_urllib3_retry(target: Target) -> None:
    """With its default kind of retries, which wraps what it met in a MaxRetryError."""
    urllib3 = import_module("urllib3")
    with urllib3.PoolManager(retries=urllib3.Retry(0, status_forcelist=[500])) as pool:
        _ = pool.request("GET", target.url, timeout=TIMEOUT_S).data


def _by_httpx(module: str, target: Target) -> None:
    import_module(module).get(target.url, timeout=TIMEOUT_S).raise_for_status()


def _by_httpx_async(module: str, target: Target) -> None:
    httpx = import_module(module)

    async def call() -> None:
        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            (await client.get(target.url)).raise_for_status()

    asyncio.run(call())


def by_aiohttp(target: Target) -> None:
    aiohttp = import_module("aiohttp")

    async def call() -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.get(target.url) as response,
        ):
            await response.read()

    asyncio.run(call())


def by_openai(target: Target) -> None:
    openai = import_module("openai")
    with openai.OpenAI(api_key="x", base_url=target.url, max_retries=0, timeout=TIMEOUT_S) as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


def by_anthropic(target: Target) -> None:
    anthropic = import_module("anthropic")
    with anthropic.Anthropic(api_key="x", base_url=target.url, max_retries=0, timeout=TIMEOUT_S) as client:
        client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])


_clients: list[Any] = []
"""A client of google-genai closes its connections when nobody holds it."""


def by_google_genai(target: Target) -> None:
    genai = import_module("google.genai")
    client = genai.Client(api_key="x", http_options={"base_url": target.url, "timeout": int(TIMEOUT_S * 1000)})
    _clients.append(client)
    client.models.generate_content(model="m", contents="x")


def by_google_api_core(target: Target) -> None:
    """As the generated clients of Google do over REST."""
    exceptions = import_module("google.api_core.exceptions")
    session = import_module("google.auth.transport.requests").AuthorizedSession(
        import_module("google.auth.credentials").AnonymousCredentials()
    )
    with session:
        response = session.get(target.url, timeout=TIMEOUT_S)
        if response.status_code >= 400:
            raise exceptions.from_http_response(response)


def by_boto3(target: Target) -> None:
    boto3, config = import_module("boto3"), import_module("botocore.config")
    client = _boto_session(boto3).client(
        "dynamodb",
        endpoint_url=target.url,
        config=config.Config(
            retries={"total_max_attempts": 1}, read_timeout=TIMEOUT_S, connect_timeout=TIMEOUT_S, tcp_keepalive=False
        ),
    )
    client.get_item(TableName="t", Key={"k": {"S": "x"}})


def by_boto3_s3(target: Target) -> None:
    boto3, config = import_module("boto3"), import_module("botocore.config")
    client = _boto_session(boto3).client(
        "s3",
        endpoint_url=target.url,
        config=config.Config(
            retries={"total_max_attempts": 1},
            read_timeout=TIMEOUT_S,
            connect_timeout=TIMEOUT_S,
            s3={"addressing_style": "path"},
        ),
    )
    client.get_object(Bucket="b", Key="k")["Body"].read()


@functools.cache
def _boto_session(boto3: Any) -> Any:
    return boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="eu-north-1")


def by_azure_core(target: Target) -> None:
    """As the generated clients of Azure do."""
    core, rest = import_module("azure.core"), import_module("azure.core.rest")
    exceptions = import_module("azure.core.exceptions")
    with core.PipelineClient(target.url, policies=[]) as client:
        response = client.send_request(
            rest.HttpRequest("GET", target.url), connection_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S
        )
        if response.status_code >= 400:
            exceptions.map_error(response.status_code, response, {401: exceptions.ClientAuthenticationError})
            raise exceptions.HttpResponseError(response=response)


def by_stripe(target: Target) -> None:
    stripe = import_module("stripe")
    client = stripe.StripeClient(
        "sk_test_x",
        base_addresses={"api": target.url},
        max_network_retries=0,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_S),
    )
    client.v1.balance.retrieve()


def by_tenacity(target: Target) -> None:
    """What is left when the last attempt has failed: a RetryError."""
    tenacity = import_module("tenacity")
    tenacity.retry(stop=tenacity.stop_after_attempt(1))(by_requests)(target)


def by_task_group(target: Target) -> None:
    """An exception group, as calls in parallel raise it."""

    async def call() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(by_requests, target))

    asyncio.run(call())


CLIENTS: dict[str, Callable[[Target], None]] = {
    "requests": by_requests,
    "niquests": by_niquests,
    "urllib": by_urllib,
    "http.client": by_http_client,
    "urllib3": by_urllib3,
    "urllib3 Retry": by_urllib3_retry,
    "httpx": functools.partial(_by_httpx, "httpx"),
    "httpx async": functools.partial(_by_httpx_async, "httpx"),
    "httpx2": functools.partial(_by_httpx, "httpx2"),
    "httpx2 async": functools.partial(_by_httpx_async, "httpx2"),
    "aiohttp": by_aiohttp,
    "openai": by_openai,
    "anthropic": by_anthropic,
    "google-genai": by_google_genai,
    "google-api-core": by_google_api_core,
    "boto3": by_boto3,
    "boto3 s3": by_boto3_s3,
    "azure-core": by_azure_core,
    "stripe": by_stripe,
    "tenacity": by_tenacity,
    "task group": by_task_group,
}

OPENAI = {"error": {"message": "You exceeded your quota.", "type": "insufficient_quota", "code": "insufficient_quota"}}
NO_CREDIT: dict[str, tuple[int, Any]] = {
    "anthropic": (400, {"type": "error", "error": {"type": "billing_error", "message": "No credit."}}),
    "google-genai": (
        429,
        {
            "error": {
                "code": 429,
                "status": "RESOURCE_EXHAUSTED",
                "message": "You exceeded your quota.",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
                    },
                    {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "41s"},
                ],
            }
        },
    ),
    "google-api-core": (
        403,
        {
            "error": {
                "code": 403,
                "message": "Quota.",
                "errors": [{"reason": "dailyLimitExceeded", "domain": "usageLimits"}],
            }
        },
    ),
    "boto3": (
        400,
        {"__type": "com.amazon.coral.service#UnrecognizedClientException", "message": "The token is invalid."},
    ),
    "azure-core": (
        403,
        {"error": {"code": "ReadOnlyDisabledSubscription", "message": "The subscription is disabled."}},
    ),
    "stripe": (400, {"error": {"code": "api_key_expired", "type": "invalid_request_error", "message": "Expired."}}),
}
"""What the providers answer to an account that is shut, by client. For the others it is what OpenAI answers, with 429."""
