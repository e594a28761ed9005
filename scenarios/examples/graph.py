"""A graph on real input: 3,500 airports are filtered, sent different ways, forked, joined, batched and taken apart again.

`python -m headrace.scenarios.examples.graph --out out`; the same in a file: `graph.toml`, beside this one, for
`headrace run`. Every function here computes; none needs a service, so that what comes out can be compared with a plain
loop.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import msgspec

from headrace import Flow, Pipeline, sinks, sources

HERE = Path(__file__).parent
TILT = math.radians(23.44)
"""Of the earth's axis: the sun's declination at the solstice in June."""


class Airport(msgspec.Struct, frozen=True):
    """The contract of a row: an airport as the file has it."""

    icao: str
    iata: str
    name: str
    country: str
    elevation: float
    lat: float
    lon: float
    polar: bool = False


def mark_polar(airport: Airport) -> Airport:
    """An airport beyond a polar circle."""
    return msgspec.structs.replace(airport, polar=True)


def zone(airport: Airport) -> dict[str, Any]:
    """Its zone of UTM, the universal transverse Mercator grid."""
    return {"zone": int((airport.lon + 180.0) // 6.0) % 60 + 1, "north": airport.lat >= 0.0}


def daylight(airport: Airport) -> float:
    """Hours between sunrise and sunset at the solstice in June, by the sunrise equation."""
    cosine = -math.tan(math.radians(airport.lat)) * math.tan(TILT)
    return round(24.0 / math.pi * math.acos(max(-1.0, min(1.0, cosine))), 3)


def merge(airport: Airport, parts: dict[str, Any]) -> dict[str, Any]:
    """What the branches have found out about an airport."""
    found = {"icao": airport.icao, "country": airport.country, "polar": airport.polar}
    return {**found, **parts["zone"], "daylight": parts["daylight"]}


def encode(airports: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A batch of one country's airports, as a bulk call would take them."""
    return [{**airport, "key": f"{airport['country']}-{airport['icao']}"} for airport in airports]


def words(airport: Airport) -> list[dict[str, str]]:
    """The words of its name, each a row of its own."""
    return [{"icao": airport.icao, "word": word} for word in airport.name.split()]


def pipeline(out: Path) -> Flow[Any]:
    """The pipeline of the worked example."""
    return (
        Pipeline("airports")
        .source(sources.csv(HERE / "airports.csv"), rows=Airport)
        .filter('iata != ""')
        .route(
            'elevation > 8000.0 ? "high" : (lat > 66.56 || lat < -66.56 ? "polar" : "")',
            name="place",
            high=lambda flow: flow.sink(sinks.jsonl(out / "high.jsonl")),
            polar=lambda flow: flow.map(mark_polar),
        )
        .fork(
            words=lambda flow: flow.flat_map(words).sink(sinks.jsonl(out / "words.jsonl")),
            facts=lambda flow: (
                flow.fork(zone=lambda branch: branch.map(zone), daylight=lambda branch: branch.map(daylight))
                .join(merge=merge)
                .batch(50, key="country", within=5.0)
                .map(encode)
                .unbatch()
                .sink(sinks.jsonl(out / "airports.jsonl"))
            ),
        )
        .quarantine(sinks.jsonl(out / "quarantine.jsonl"))
    )


def main(argv: list[str] | None = None) -> int:
    """Run it, and show the report."""
    parser = argparse.ArgumentParser(description="A graph on real input.")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for what comes out")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    print(pipeline(out).run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
