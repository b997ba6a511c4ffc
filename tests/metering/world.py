"""A meter over a database in a folder, with money in it."""

from pathlib import Path
from types import TracebackType
from typing import Self

from msgspec.structs import replace

from headrace.clock import ManualClock
from headrace.config import Billing, MeteringConfig, PriceConfig
from headrace.metering import Meter, Payer, PriceList, new_entry_id
from headrace.store import LedgerRecord, SqliteStore, UsageRecord, ledger

# A tenth of a dollar for a million tokens of prompt, six tenths for those of an answer.
PRICES = PriceList(
    [
        PriceConfig(
            model="m", input_micros=100_000, cached_input_micros=50_000, output_micros=600_000
        )
    ]
)
DEVELOPER = Payer(
    organisation_id="org",
    project_id="proj",
    key_id="key",
    tier="developer",
    billing=Billing.CREDIT,
)
FREE = replace(DEVELOPER, tier="free", billing=Billing.NONE)
ENTERPRISE = replace(DEVELOPER, tier="enterprise", billing=Billing.INVOICE)


class World:
    """Opened anew, it is what a restarted server finds."""

    def __init__(
        self,
        home: Path,
        clock: ManualClock | None = None,
        *,
        slots: int = 64,
        lease_micros: int = 1_000_000,
    ) -> None:
        self.clock = clock or ManualClock()
        self.store = SqliteStore(home / "headrace.db", self.clock)
        self.meter = Meter.open(
            home,
            self.store,
            self.clock,
            MeteringConfig(slots=slots, lease_micros=lease_micros),
            prices=PRICES,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.meter.close()
        self.store.close()

    def pay(self, micros: int, organisation_id: str = "org") -> None:
        entry = new_entry_id()
        with self.store.changing() as tx:
            ledger.append(
                tx,
                LedgerRecord(
                    id=entry,
                    organisation_id=organisation_id,
                    at_unix=0,
                    kind="top_up",
                    micros=micros,
                    reference=entry,
                ),
            )

    def records(self, organisation_id: str = "org") -> list[UsageRecord]:
        with self.store.reading() as tx:
            return ledger.usage_of(tx, organisation_id, 0, 1e12)

    @property
    def balance(self) -> int:
        with self.store.reading() as tx:
            return ledger.balance(tx, "org")

    @property
    def free(self) -> int:
        """What could be leased now."""
        with self.store.reading() as tx:
            return ledger.balance(tx, "org") - ledger.held(tx, "org")

    @property
    def disagreements(self) -> list[str]:
        with self.store.reading() as tx:
            return list(ledger.disagreements(tx))
