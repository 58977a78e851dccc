"""Serves the coder's desk: login, worklist, cases, and what coders do with them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.cli.terminal import visible
from src.cohort.apr import AprDrg
from src.cohort.msdrg import MDCS, Drg
from src.cohort.weights import Weights
from src.evaluation.prediction_table import SEVERITIES
from src.service.access import Access, Expose
from src.service.action_log import ActionLog, LoggedAction, LogUnavailableError, now
from src.service.allotted_cases import Allotted
from src.service.case_page import families, marked
from src.service.worklist import A_PAGE, STATUSES, Encounter, Filters, Worklist, kind_of, status_of

COOKIE = "desk"
OUTSIDE_A_STUDY = "assisted"


class NotLoggedIn(Exception):
    """Whoever asks is to log in first."""


class NotRecorded(Exception):
    """An action is not recorded; the message says why, and what to do."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, eq=False)
class Desk:
    """Holds what the pages show, and does what their forms ask for."""

    worklist: Worklist
    log: ActionLog
    access: Access
    system: str
    """Names what is decided on, as `MS-DRG v34`."""
    titles: Mapping[str, str]
    """Of every DRG that may be decided."""
    drgs: Mapping[str, Drg | AprDrg]
    """Empty for a hospital's own labels."""
    weights: Weights
    study: Mapping[str, Mapping[str, Allotted]] | None
    explain: Callable[[str, str, str | None], Sequence[tuple[str, float]]]
    """Lists the sentences of a note that speak most for a DRG, rather than for another, with their scores."""
    pages: Environment = field(default_factory=lambda: _environment())

    def page(self, name: str, coder: str | None, status: int = 200, **values: Any) -> HTMLResponse:
        """Renders a page."""
        html = self.pages.get_template(f"{name}.html.j2").render(
            coder=coder, system=self.system, study=self.study is not None, with_token=bool(self.access.tokens), **values
        )
        return HTMLResponse(html, status)

    def choices(self) -> dict[str, dict[str, str]]:
        """Lists what the worklist can be filtered by."""
        proposals = [case.proposal for case in self.worklist if case.proposal]
        mdcs = sorted({proposal["mdc"] for proposal in proposals if proposal["mdc"] is not None})
        reasons = sorted({kind_of(reason) for proposal in proposals for reason in proposal["reasons"]})
        return {
            "status": {name: name for name in STATUSES.values() if name != "decided"},
            "mdc": {mdc: MDCS.get(mdc, mdc) for mdc in mdcs if mdc},
            "decision": {"decide": "decide", "defer": "defer"},
            "reason": {reason: reason for reason in reasons},
        }

    def show_worklist(self, coder: str, query: Mapping[str, str]) -> Response:
        """Shows the cases; in a study the coder's own, in their order."""
        if self.study is not None:
            own = self.study.get(coder, {})
            last = self.log.last(coder)
            listed = [(allotted, status_of(case, last)) for case, allotted in own.items()]
            return self.page("allotted", coder, listed=listed, next=self.next_case(coder))
        filters = Filters(**{name: query.get(name, "") for name in Filters.__dataclass_fields__})
        rows = list(filters.of(self.worklist, self.log.last()))
        number = int(query["page"]) if query.get("page", "").isdecimal() else 1
        last_page = max(1, -(-len(rows) // A_PAGE))
        number = min(max(number, 1), last_page)
        chosen = {name: value for name, value in asdict(filters).items() if value}
        return self.page(
            "worklist",
            coder,
            rows=rows[(number - 1) * A_PAGE : number * A_PAGE],
            count=len(rows),
            choices=self.choices(),
            progress=self.worklist.progress,
            filters=filters,
            number=number,
            last_page=last_page,
            leaf=lambda page: "/desk?" + urlencode({**chosen, "page": page}),
        )

    def show_case(self, coder: str, case_id: str, after: str = "", against: str = "") -> Response:
        """Shows a case; in a study only the one that comes next.

        Sentences are marked that speak for the proposed DRG rather than for `against`, else for the second likeliest:
        where a model is sure no sentence moves a DRG's probability, and each still moves that difference.
        """
        case, allotted = self._case(coder, case_id)
        last = self.log.last(coder if self.study is not None else None)
        if allotted and case_id != self.next_case(coder):
            return RedirectResponse("/desk", 303)
        self.log.open_case(coder, case_id)
        alone = allotted is not None and allotted.arm == "alone"
        drgs = [] if alone else case.proposal["drgs"] or []
        rather = against if against in drgs[1:] else next(iter(drgs[1:]), None)
        sentences = list(self.explain(case.note, drgs[0], rather)) if drgs else []
        shown = json.dumps({"drgs": drgs, "sentences": len(sentences)}, separators=(",", ":"))
        return self.page(
            "case",
            coder,
            case=case,
            alone=alone,
            allotted=allotted,
            families={} if alone else families(case.proposal, self.drgs),
            shares=dict(zip(drgs, case.proposal["probabilities"] or [], strict=False)),
            severities=SEVERITIES,
            weights=self.weights,
            sentences=sentences,
            rather=rather,
            parts=list(marked(case.note, [text for text, _ in sentences])),
            titles=self.titles,
            others=[] if self.study is not None else self.log.others(coder, case_id),
            last=last.get(case_id, (0, None))[1],
            after=last[after][1] if after in last else None,
            form=self.access.new_form(coder, case_id, shown),
            seen=last.get(case_id, (0, None))[0],
            shown=shown,
        )

    def act(self, coder: str, typed: Mapping[str, str]) -> Response:
        """Records what a form asks for, and goes to the next case; shows the form again where it cannot be."""
        try:
            action = self._action(coder, typed)
            seen = int(typed["seen"]) if typed.get("seen", "").isdecimal() and self.study is None else None
            if not self.log.add(typed["form"], action, seen):
                number, before = self.log.last(coder if self.study is not None else None)[action.case]
                typed = {**typed, "seen": str(number)}
                what = f"{before.coder} recorded {before.outcome}"
                again = "" if self.study is not None else " Send it again to put it after theirs."
                raise NotRecorded(409, f"Meanwhile {what} for this case, and yours is not recorded.{again}")
        except (NotRecorded, LogUnavailableError) as refusal:
            status, message = getattr(refusal, "status", 503), str(refusal)
            if status == 503:
                message = f"Nothing was recorded, and what you typed is still here. {message}"
            return self.page("again", coder, status, message=message, typed=typed, titles=self.titles)
        following = self.next_case(coder, action.case)
        target = "/desk" if following is None else "/desk/case?" + urlencode({"id": following, "after": action.case})
        return RedirectResponse(target, 303)

    def next_case(self, coder: str, after: str | None = None) -> str | None:
        """Finds the next open case: in a study the coder's first, else the first in the worklist below `after`."""
        if self.study is not None:
            done = self.log.last(coder)
            return next((case for case in self.study.get(coder, {}) if case not in done), None)
        done, order = self.log.last(), [case.id for case in self.worklist]
        start = 0 if after is None else order.index(after) + 1
        return next((case for case in order[start:] + order[:start] if case not in done), None)

    def _case(self, coder: str, case_id: str) -> tuple[Encounter, Allotted | None]:
        """Finds a case that a coder may see, scored; in a study with what is allotted.

        Raises:
            NotRecorded: there is none.
        """
        allotted = None if self.study is None else self.study.get(coder, {}).get(case_id)
        case = self.worklist.opened(case_id) if allotted or self.study is None else None
        if case is None:
            raise NotRecorded(404, f"There is no case {case_id} on this desk.")
        return case, allotted

    def _action(self, coder: str, typed: Mapping[str, str]) -> LoggedAction:
        """Makes of a form what is logged.

        Raises:
            NotRecorded: the form is of another page, or lacks a DRG or a reason.
        """
        case, allotted = self._case(coder, typed.get("id", ""))
        if not self.access.is_form(typed.get("form", ""), coder, case.id, typed.get("shown", "")):
            raise NotRecorded(403, "This form is of another login or case. Open the case again.")
        name, reason = typed.get("action", ""), typed.get("reason", "").strip()
        arm = allotted.arm if allotted else OUTSIDE_A_STUDY
        if name not in (("decide", "defer") if arm == "alone" else ("accept", "override", "defer")):
            raise NotRecorded(422, "This case is not decided so. Open the case again.")
        drg = typed.get("drg", "").strip()
        decided = {"accept": case.proposal["drg"] or "", "defer": ""}.get(name, drg)
        if name != "defer" and decided not in self.titles:
            raise NotRecorded(422, f"{decided or 'Nothing'} is no DRG here; choose one of the list.")
        if name in ("override", "defer") and not reason:
            raise NotRecorded(422, f"Give the reason to {name}.")
        return LoggedAction(
            when=now(),
            coder=coder,
            case=case.id,
            arm=arm,
            period=str(allotted.period) if allotted else "",
            proposed=case.proposal["drg"] or "",
            decided=decided,
            action=name,
            reason=reason[:2000],
            seconds=self.log.seconds(coder, case.id),
            shown=typed["shown"],
            model=case.proposal["model"],
            cohort=case.proposal["cohort"],
        )


def _environment() -> Environment:
    pages = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {"visible": visible, "kind": kind_of}
    return pages


async def _typed(request: Request) -> dict[str, str]:
    """Reads a form that a page of this service sent."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


Typed = Annotated[dict[str, str], Depends(_typed)]


def add_desk(app: FastAPI, desk: Desk) -> None:
    """Adds the desk's routes to the service."""

    def coder_of(request: Request) -> str:
        coder = desk.access.coder_of(request.cookies.get(COOKIE, ""))
        if coder is None:
            raise NotLoggedIn
        return coder

    def own_page(request: Request) -> None:
        if not desk.access.is_own_page(request.headers):
            raise NotRecorded(403, "Another site sent this form. Open the case again.")

    Coder = Annotated[str, Depends(coder_of)]
    router = APIRouter(prefix="/desk", include_in_schema=False)

    @router.get("")
    def worklist(request: Request, coder: Coder) -> Response:
        return desk.show_worklist(coder, request.query_params)

    @router.get("/case")
    def case(coder: Coder, id: str, after: str = "", against: str = "") -> Response:
        return desk.show_case(coder, id, after, against)

    @router.post("/case", dependencies=[Depends(own_page)])
    def act(coder: Coder, typed: Typed) -> Response:
        return desk.act(coder, typed)

    @router.get("/export.csv")
    def export(coder: Coder) -> Response:
        if desk.study is not None:
            raise NotRecorded(403, "In a study the log is exported by the command alone: it holds what others decided.")
        return Response(desk.log.csv(), media_type="text/csv")

    @router.get("/desk.{kind}")
    def file(kind: str) -> Response:
        if kind not in ("css", "js"):
            return Response(status_code=404)
        text = (Path(__file__).parent / f"desk.{kind}").read_text("utf-8")
        return Response(text, media_type="text/css" if kind == "css" else "text/javascript")

    _add_login(router, desk, own_page)
    app.include_router(router)
    _answer_errors(app, desk)


def _add_login(router: APIRouter, desk: Desk, own_page: Callable[[Request], None]) -> None:
    @router.get("/login")
    def form() -> Response:
        return desk.page("login", None, message="")

    @router.post("/login", dependencies=[Depends(own_page)])
    def login(typed: Typed) -> Response:
        coder = desk.access.login(typed.get("name", ""), typed.get("token", ""))
        if coder is None:
            what = "No such token." if desk.access.tokens else "A name has up to 40 letters, digits, blanks, . @ and -."
            return desk.page("login", None, 403, message=what)
        answer = RedirectResponse("/desk", 303)
        secure = desk.access.expose is not Expose.LOOPBACK
        answer.set_cookie(COOKIE, desk.access.cookie(coder), httponly=True, samesite="strict", secure=secure)
        return answer

    @router.post("/logout", dependencies=[Depends(own_page)])
    def logout() -> Response:
        answer = RedirectResponse("/desk/login", 303)
        answer.delete_cookie(COOKIE)
        return answer


def _answer_errors(app: FastAPI, desk: Desk) -> None:
    @app.exception_handler(NotLoggedIn)
    async def to_login(request: Request, error: NotLoggedIn) -> Response:
        return RedirectResponse("/desk/login", 303)

    @app.exception_handler(NotRecorded)
    @app.exception_handler(LogUnavailableError)
    async def refused(request: Request, error: Exception) -> Response:
        return desk.page("again", None, getattr(error, "status", 503), message=str(error), typed={}, titles={})
