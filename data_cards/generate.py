"""Build every dataset that has a card here and write its two files.

    python data_cards/generate.py --real-data DIR [--home DIR]

DIR holds the real files in the layout of the folders named below; a dataset whose files are absent keeps its old card.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from unimp_bench import audit
from unimp_bench.cards import card, card_facts
from unimp_bench.data.opening import Places
from unimp_bench.places import Home
from unimp_bench.recipes import Recipe, build

HERE = Path(__file__).parent


def recipes(real: Path) -> list[Recipe]:
    """What is built, by name of the dataset."""
    amazon = real / "amazon2018"
    music = real / "amazon2014/musical_instruments/Musical_instruments_reviews.csv.zip"
    found = [
        Recipe("synthetic"),
        Recipe("hm", Places(raw=real / "hm"), settings={"core_user": 3, "core_item": 3}),
        Recipe("amazon", Places(raw=amazon / "gift_cards", domains=("gift_cards",)), release="2018"),
        Recipe("amazon", Places(raw=amazon / "all_beauty", domains=("all_beauty",)), release="2018"),
        Recipe("files", Places(interactions=music), name="musical_instruments"),
    ]
    for name in ("beauty", "toys", "sports"):
        folder = real / "sequences" / name
        places = Places(interactions=folder / "interactions.csv.gz", items=folder / "items.csv.gz")
        found.append(Recipe("files", places, name=name, settings={"protocol": "leave_last_out"}))
    return found


def main() -> None:
    """Build, audit, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real-data", type=Path, required=True)
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "unimp-bench-cards")
    arguments = parser.parse_args()
    for recipe in recipes(arguments.real_data):
        given = recipe.places.raw or recipe.places.interactions
        if given is not None and not given.exists():
            print(f"no {given}; its card stays as it was")
            continue
        dataset = build(Home(arguments.home), recipe, force=True)
        checks = audit.audit(dataset)
        (HERE / f"{dataset.name}.md").write_text(card(dataset, checks))
        facts = json.dumps(card_facts(dataset, checks), indent=1, sort_keys=True, default=str)
        (HERE / f"{dataset.name}.json").write_text(facts + "\n")
        print(f"{dataset.name}: {dataset.manifest.facts['counts']['interactions']:,} interactions")


if __name__ == "__main__":
    main()
