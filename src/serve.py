"""Serves a finished run, to programs and at the coder's desk: `python -m src.serve run=runs/NAME notes=FILE`."""

import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from src.cli.command import command, with_first_named
from src.cli.errors import UserError


@dataclass
class ServeConfig:
    """Serves a finished run over HTTP: proposals for programs at /v1, and with `notes` the coder's desk at /desk."""

    run: str | None
    """Folder of a finished run."""
    data_dir: str | None
    """The cohort of a run that kept nothing of it, which an earlier version trained."""
    device: str
    """`auto`, `cpu`, `cuda` or `cuda:N`."""
    table5: str | None
    """CMS's Table 5 with the relative weights; null takes that of the version's year, where it is at hand."""
    aim: float
    """Accuracy that decided notes are to have; others are deferred."""
    host: str
    """Address to listen on."""
    port: int
    """Port; 0 takes one that is free."""
    expose: str
    """`loopback`: programs of this machine; `tls`: whoever has a token, over TLS; `proxy`: behind a proxy with TLS."""
    tokens: str | None
    """File with lines of `NAME: TOKEN`."""
    certificate: str | None
    """PEM file of the TLS certificate, for `expose=tls`."""
    key: str | None
    """PEM file of its key."""
    request_bytes: int
    """Bytes of a request, at most."""
    request_notes: int
    """Notes of a request, at most."""
    queue_notes: int
    """Notes that wait, at most."""
    timeout: float
    """Seconds for a request to come."""
    notes: str | None
    """The desk's encounters, whole notes as `src.predict` reads them; null for no desk."""
    text: str | None
    """The notes' column of texts."""
    id: str | None
    """Their column of ids."""
    hosp: str | None
    """MIMIC-IV's folder `hosp`, which tells the days in house."""
    study: str | None
    """A study's allocation: CSV of `case`, `coder`, `period`, `arm` (assisted or alone) and `order`."""
    log: str | None
    """SQLite file of what coders do; the desk needs one."""
    export: str | None
    """CSV file that the log is written to; nothing is served."""

    def problems(self) -> list[str]:
        """Lists one line for each value that cannot be."""
        from src.runs.folder import RunFolder
        from src.service.access import Expose

        if self.export is not None:
            there = self.log is not None and Path(self.log).is_file()
            return [] if there else [f"log={self.log}: no such file; name the log to export"]
        problems = RunFolder(Path(str(self.run))).problems()
        for name in ("request_bytes", "request_notes", "queue_notes", "timeout"):
            if not getattr(self, name) > 0:
                problems.append(f"{name}={getattr(self, name)}: must be above 0")
        if self.queue_notes < 2 * self.request_notes:
            least = f"twice request_notes={self.request_notes}"
            problems.append(f"queue_notes={self.queue_notes}: must be at least {least}")
        if not 0 <= self.port <= 65535:
            problems.append(f"port={self.port}: must be 0 to 65535")
        if not 0 < self.aim <= 1:
            problems.append(f"aim={self.aim}: must be above 0 and at most 1")
        for name in ("tokens", "certificate", "key", "study", "table5"):
            value = getattr(self, name)
            if value is not None and not Path(value).is_file():
                problems.append(f"{name}={value}: no such file")
        if self.notes is not None and not Path(self.notes).exists():
            problems.append(f"notes={self.notes}: no such file or folder")
        if self.notes is not None and self.log is None:
            problems.append("log: the desk needs a file for what coders do; give log=FILE")
        if self.study is not None and self.notes is None:
            problems.append("study: needs the notes of its cases; give notes=")
        if self.expose not in list(Expose):
            return [*problems, f"expose={self.expose}: must be one of {', '.join(Expose)}"]
        return problems + self._exposed(Expose(self.expose) is Expose.LOOPBACK)

    def _exposed(self, loopback: bool) -> list[str]:
        """Lists what a service that others reach lacks."""
        try:
            address = ip_address(self.host)
        except ValueError:
            return [f"host={self.host}: must be an address, as 127.0.0.1 or 0.0.0.0"]
        if loopback:
            return [] if address.is_loopback else [f"host={self.host}: not loopback; give expose=tls or expose=proxy"]
        problems = []
        if self.tokens is None:
            problems.append(f"expose={self.expose}: needs tokens=FILE with lines of NAME: TOKEN")
        if self.expose == "tls" and (self.certificate is None or self.key is None):
            problems.append("expose=tls: needs certificate=FILE and key=FILE")
        return problems


def serve(cfg: ServeConfig) -> None:
    """Opens the run, and serves until a signal comes, while the desk's notes are scored; or exports the log.

    Raises:
        UserError: a file is missing or damaged, or the port is taken.
    """
    import secrets

    from src.cli.files import atomic_write
    from src.cohort.weights import weights_for
    from src.inference.model import open_models
    from src.inference.proposals import Proposer
    from src.service.access import Access, Expose, read_tokens
    from src.service.action_log import ActionLog
    from src.service.request_limits import LOOPBACK, RequestLimits
    from src.service.scoring_queue import ScoringQueue
    from src.service.served_notes import read_encounters, scored_by
    from src.training.quiet_libraries import quiet_libraries

    if cfg.export is not None and cfg.log is not None:
        with closing(ActionLog(Path(cfg.log))) as exported, atomic_write(Path(cfg.export)) as tmp:
            tmp.write_text(exported.csv(), "utf-8")
        print(f"log: {cfg.export}")
        return
    try:
        from src.service.api import api_routes, new_app
        from src.service.desk import add_desk
        from src.service.http_server import listen, server_of
        from src.service.open_desk import open_desk
    except ModuleNotFoundError as error:
        raise UserError(f"serving needs {error.name}: pip install -e '.[serve]' -c constraints.txt") from None
    quiet_libraries()
    tokens = read_tokens(Path(cfg.tokens)) if cfg.tokens else {}
    loopback = Expose(cfg.expose) is Expose.LOOPBACK
    app = new_app()
    limits = RequestLimits(app, cfg.request_bytes, cfg.timeout, LOOPBACK if loopback else None)
    server = server_of(limits, cfg.certificate, cfg.key)
    with ExitStack() as stack:
        opened = stack.enter_context(listen(cfg.host, cfg.port))
        log = stack.enter_context(closing(ActionLog(Path(cfg.log)))) if cfg.notes and cfg.log else None
        access = Access(Expose(cfg.expose), tokens, log.key() if log else secrets.token_bytes(32))
        models = open_models([Path(str(cfg.run))], cfg.device, Path(cfg.data_dir) if cfg.data_dir else None)
        proposer = Proposer(models, weights_for(models.drg_version, cfg.table5), aim=cfg.aim)
        for remark in proposer.remarks:
            print(remark, file=sys.stderr)
        queue = stack.enter_context(closing(ScoringQueue(scored_by(proposer), cfg.queue_notes)))
        first = models.first
        routes = api_routes(queue, access, first.fingerprint, first.record.cohort, cfg.request_notes, bool(cfg.study))
        app.include_router(routes)
        if log is not None and cfg.notes is not None:
            study, hosp = Path(cfg.study) if cfg.study else None, Path(cfg.hosp) if cfg.hosp else None
            encounters = read_encounters(Path(cfg.notes), first.kept, cfg.text, cfg.id, hosp)
            desk = open_desk(proposer, queue, log, access, encounters, study)
            add_desk(app, desk)
            stack.enter_context(desk.worklist.scoring())
        where = f"{'https' if cfg.certificate else 'http'}://{cfg.host}:{opened.getsockname()[1]}"
        print(f"serving on {where}/v1" + (f", the desk on {where}/desk" if cfg.notes else ""), flush=True)
        server.run(sockets=[opened])


def main() -> None:
    """The command; its first word may be the run alone."""
    sys.argv[1:] = with_first_named(sys.argv[1:], "run")
    command(ServeConfig, "serve", serve)


if __name__ == "__main__":
    main()
