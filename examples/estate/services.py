"""Services of the example that are Python: a scraper, a reader of contacts, two backups.

    python -m examples.estate.services --data DIR --site http://127.0.0.1:18101 --nats URL

A backup answers a key that it knows with what it has answered before.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any, Final

import movant
from examples.estate import scraping
from examples.estate.servers import fetch

COLUMNS: Final = ("parcel", "address", "name", "phone", "email", "score", "outreach", "message")


def scraper(site: str) -> movant.Service:
    """Serve what reads the site by itself, for when the other scraper is down."""
    service = movant.Service(
        "reengine-web-scraping", version="1.0.0", description="Second scraper"
    )

    @service.operation("scrape_real_estate_listings")
    def scrape_listings(request: dict[str, Any]) -> dict[str, Any]:
        """Read the listings that a request asks for."""
        found = read(lambda: scraping.listings(fetch, site, request))
        return {"results": found, "source": "web-scraping"}

    @service.operation("scrape_market_data")
    def scrape_market(request: dict[str, Any]) -> dict[str, Any]:
        """Read the months of a market."""
        months = int(request.get("timeRange") or 12)
        rows = read(lambda: scraping.market(fetch, site, request["location"], months))
        found = {"location": request["location"], "months": rows}
        return {"results": found, "source": "web-scraping"}

    return service


def browser(site: str) -> movant.Service:
    """Serve what finds out who owns a home."""
    service = movant.Service(
        "reengine-browser-automation", version="1.0.0", description="Owners of homes"
    )

    @service.operation("extract_contact_info")
    def extract(request: dict[str, Any]) -> dict[str, Any]:
        """Read the pages of homes, or the public records; none at all is a failure."""
        sources = request.get("sources") or [scraping.PAGE]
        urls = request["propertyUrls"]
        found = read(lambda: scraping.contacts(fetch, site, urls, sources))
        if urls and not found:
            raise movant.Refused("not_found", f"no contact of {len(urls)} homes is known")
        return {"results": found, "sources": sources, "missing": len(urls) - len(found)}

    return service


def csv_backup(folder: Path) -> movant.Service:
    """Serve a table that takes leads while the CRM is away."""
    service = movant.Service("local-csv-backup", version="1.0.0", description="Leads as CSV")

    @service.operation("insert_leads")
    def insert(request: dict[str, Any], call: movant.Call) -> movant.Result:
        """Write the leads of a step into a file of its own: the same key is the same file."""
        path = write_leads(folder / "crm-backup", call.key, request["leads"])
        kept = movant.File("leads.csv", path.read_bytes(), "text/csv")
        return movant.Result({"count": len(request["leads"]), "stored": "csv"}, (kept,))

    return service


def file_backup(folder: Path) -> movant.Service:
    """Serve a folder that takes reports while the database is away."""
    service = movant.Service("local-file-backup", version="1.0.0", description="Reports as files")

    @service.operation("save_report")
    def save(request: dict[str, Any], call: movant.Call) -> dict[str, Any]:
        """Write a report into a file of its own; without one, what it would have been made of."""
        report = request["report"]
        path = file_of(folder / "report-backup", call.key, "md" if "text" in report else "json")
        replace(path, report.get("text") or json.dumps(report))
        return {"count": 1, "stored": "file"}

    return service


def read(work: Any) -> Any:
    """Do what reads; a site that does not answer has had no effect, and may answer later."""
    try:
        return work()
    except OSError as error:
        raise movant.Failed("network", f"the site: {error}") from None
    except (KeyError, ValueError) as error:
        raise movant.Refused("validation", f"{type(error).__name__}: {error}") from None


def write_leads(folder: Path, key: str, leads: list[dict[str, Any]]) -> Path:
    """Write leads as CSV, whole or not at all."""
    path = file_of(folder, key, "csv")
    temporary = path.with_suffix(".part")
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**each, **each["owner"]} for each in leads)
    temporary.replace(path)
    return path


def replace(path: Path, text: str) -> None:
    """Write a text, whole or not at all."""
    temporary = path.with_suffix(".part")
    temporary.write_text(text)
    temporary.replace(path)


def file_of(folder: Path, key: str, kind: str) -> Path:
    """Return the file of a key, which may hold what no name of a file can."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "".join(each if each.isalnum() or each in "-_" else "." for each in key)
    return folder / f"{name}.{kind}"


def main(arguments: list[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description="Services of the real-estate example.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the backups")
    parser.add_argument("--site", required=True, help="address of the listings site")
    parser.add_argument("--nats", default="nats://127.0.0.1:4222", help="URL of the server")
    given = parser.parse_args(arguments)
    given.data.mkdir(parents=True, exist_ok=True)
    movant.run_service(
        scraper(given.site),
        browser(given.site),
        csv_backup(given.data),
        file_backup(given.data),
        nats=given.nats,
    )


if __name__ == "__main__":
    main()
