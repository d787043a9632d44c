"""The witness over HTTP: what is served, and the page for people."""

import threading
import time
from collections.abc import Callable
from functools import partial

from earmark.serving import Answer, Served, serving, text
from earmark.witness.folder import WitnessFolder
from earmark.witness.judge import MOST_BODY, Witness, origin_hash

CONNECTIONS = 32
LOOK_S = 0.5


def run(folder: WitnessFolder, passphrase: Callable[[], bytes], stop: threading.Event) -> None:
    """Serve until `stop` is set; `ConfigError` where it cannot, `CorruptLog` where its memory contradicts itself."""
    with folder.lock():
        ledger = folder.ledger()
        try:
            witness = Witness(folder.own, folder.signer(passphrase), folder.logs, ledger, lambda: int(time.time()))
            settings = folder.settings
            with serving(settings.listen, settings.port, routes(witness), f"witness {folder.own.name}"):
                while not stop.wait(LOOK_S):
                    if witness.failure:
                        raise witness.failure
        finally:
            ledger.close()


def routes(witness: Witness) -> Served:
    """Return what a witness serves: one path to submit, one for each log, and a page."""
    monitored = {f"/{origin_hash(origin)}/checkpoint": partial(witness.checkpoint, origin) for origin in witness.logs}
    return Served(
        get={"/": partial(_page, witness)} | monitored,
        post={"/add-checkpoint": witness.add_checkpoint},
        most_body=MOST_BODY,
        connections=CONNECTIONS,
    )


def _page(witness: Witness) -> Answer:
    """Say, in plain text, who this is, which logs it knows, and how far it saw each."""
    seen, forks = witness.known()
    newest = {row.origin: row for row in seen}
    rows = [f"witness {witness.own.encode()}", ""]
    for origin in sorted(set(newest) | set(witness.logs)):
        row = newest.get(origin)
        told = f"{row.size} leaves, cosigned {_utc(row.cosigned_at_s)}" if row else "nothing cosigned yet"
        left = "" if origin in witness.logs else " (no longer witnessed)"
        count = forks.get(origin, 0)
        split = f"; SPLIT VIEW: {count} checkpoint(s) of another history are kept" if count else ""
        rows.append(f"{origin}: {told}{left}{split}")
    return text(200, "\n".join(rows))


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(min(seconds, 253_402_300_799)))
