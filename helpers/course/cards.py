"""What a fine-tuning takes by card: data, memory, minutes, money, and who says so.

One row is measured: SmolLM2 on a CPU, from the ledger. Those of the models of the GPU
profiles are reckoned by helpers.memory; those in cards.yaml are reported by others.
Money is time at the price that a renter lists there.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import yaml

from helpers.config import GIB, read_profiles
from helpers.course.lessons import CARDS, EPOCH, MEAN, training_run

LISTED = Path(__file__).with_name("cards.yaml")
METHODS = {"model": "lora", "qlora_model": "qlora"}  # a profile's key: how it trains


def card_rows(results: Path, listed: Path = LISTED) -> list[dict]:
    """The table, a dict a row. results: the ledger's folder; listed: as cards.yaml.

    messages, gib, minutes: of a run that is, says `how`, "measured", "reckoned" or
    "reported by ..."; None where nothing is said. dollars_an_hour: None without rent.
    million_minutes, million_dollars: reckoned from these for a million tokens.
    """
    table = yaml.safe_load(listed.read_text(encoding="utf-8"))
    prices = {name: card["dollars"] for name, card in table["cards"].items()}
    rows = [measured(results), *reckoned(table["cards"])]
    rows += map(reported, table["reported"])
    for row in rows:
        minutes, price = row["million_minutes"], prices.get(row["machine"])
        row["dollars_an_hour"] = price
        row["million_dollars"] = price and round(minutes / 60 * price, 2)
        row["million_minutes"] = round(minutes, 1)
    return rows


def measured(results: Path) -> dict:
    """SmolLM2 in lesson 00; its tokens a row are those of the settings' ledger."""
    names = ("00_start_here.small.cpu-*.json", "small_settings.cpu-*.json")
    files = [min(results.glob(name)) for name in names]
    entry, settings = (json.loads(f.read_text(encoding="utf-8")) for f in files)
    small, first = read_profiles()["small"], settings["rows"][0]
    config = small["training_config"]
    read = config["max_steps"] * config["per_device_train_batch_size"]
    tokens = read * first["tokens"] / first["rows_read"]
    minutes = entry["figures"]["training_seconds"] / 60
    run = {"machine": entry["machine"]["device"], "model": Path(small["model"]).name}
    run |= {"method": "lora", "how": "measured", "messages": read}
    run |= {"gib": round(entry["peak_rss_mib"] / 1024, 1), "minutes": round(minutes, 1)}
    return run | {"million_minutes": minutes * 1e6 / tokens}


def reckoned(cards: dict) -> Iterator[dict]:
    """Yields an epoch of the tickets on each card, for its profile's two models."""
    for name, card in cards.items():
        profile, peaks = card["profile"], card.get("peaks")
        gpu = CARDS[profile]
        if peaks:
            gib, flops, bandwidth = peaks
            gpu = replace(gpu, name=name, gib=gib, flops=flops, bandwidth=bandwidth)
        for key, method in METHODS.items():
            model, moment = training_run(profile, key, method, gpu)
            minutes = moment.seconds / 60
            yield {
                "machine": name,
                "model": model,
                "method": method,
                "how": "reckoned",
                "messages": EPOCH,
                "gib": round(moment.bytes / GIB, 1),
                "minutes": round(minutes, 1),
                "million_minutes": minutes * 1e6 / (EPOCH * MEAN),
            }


def reported(run: dict) -> dict:
    """A row of cards.yaml in the table's words."""
    names = ("machine", "model", "method")
    row = {name: run[name] for name in names} | {"how": f"reported by {run['by']}"}
    row |= {"messages": None, "gib": run.get("gib"), "minutes": None}
    return row | {"million_minutes": 1e6 / run["tokens_a_second"] / 60}
