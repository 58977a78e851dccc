"""Answers programs: `POST /v1/predict`, `GET /v1/health`, and `GET /v1/schema`, which describes both."""

import asyncio
from concurrent.futures import CancelledError
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag

from src.service.access import Access
from src.service.scoring_queue import QueueFullError, ScoringQueue, ShareFullError

RETRY = {"Retry-After": "1"}


def _encodable(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair") from None
    return text


Text = Annotated[str, AfterValidator(_encodable)]


class SentNote(BaseModel):
    """A note, as a client sends it."""

    model_config = ConfigDict(extra="forbid")
    id: Text = Field("", max_length=200, description="comes back with the answer")
    text: Text = Field(description="a whole discharge summary")
    sections: bool = Field(True, description="find the sections that the model reads; false: the text is these alone")


class Proposed(BaseModel):
    """What is proposed for a note."""

    id: str
    decision: str = Field(description="decide, or defer to a coder")
    reasons: list[str] = Field(description="why to defer, and what was not read")
    drg: str | None = Field(description="the likeliest, null where the note has no such section")
    title: str | None
    probability: float | None
    drgs: list[str] | None = Field(description="the likeliest, in order")
    probabilities: list[float] | None
    base_drg: str | None
    severity: str | None
    mdc: str | None
    type: str | None
    weight: float | None
    words: int | None
    unread_tokens: int | None
    unfamiliar: float | None = Field(description="share of the words that no training note has")
    drg_version: str | None = Field(
        description="MS-DRG version of the codes, or apr; null for a hospital's own classes"
    )


class Answer(BaseModel):
    """What is proposed for a request's notes, in their order."""

    model: str
    cohort: str
    predictions: list[Proposed]


Notes = Annotated[
    Annotated[SentNote, Tag("note")] | Annotated[list[SentNote], Tag("notes")],
    Discriminator(lambda body: "notes" if isinstance(body, list) else "note"),
]


def new_app() -> FastAPI:
    """Makes an application without pages of a CDN, whose errors repeat nothing of what was sent."""
    app = FastAPI(title="drg-llama", openapi_url="/v1/schema", docs_url=None, redoc_url=None)

    @app.exception_handler(RequestValidationError)
    async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
        problems = [
            {
                # The last part of an unknown key's place is what was sent.
                "loc": list(problem["loc"][: -1 if problem["type"] == "extra_forbidden" else None]),
                "msg": "there is no such key" if problem["type"] == "extra_forbidden" else problem["msg"],
                "type": problem["type"],
            }
            for problem in error.errors()
        ]
        if any(problem["type"] == "json_invalid" for problem in problems):
            return JSONResponse({"detail": "the body is no JSON"}, 400)
        return JSONResponse({"detail": problems}, 422)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": f"the service failed ({type(error).__name__}); its output says where"}, 500)

    return app


def api_routes(
    queue: ScoringQueue, access: Access, model: str, cohort: str, most_notes: int, study: bool = False
) -> APIRouter:
    """Makes the routes of `/v1`.

    Args:
        queue: scores rows of `id`, `text` and `sections`.
        access: who may ask.
        model: the fingerprint of what answers.
        cohort: that of its cohort.
        most_notes: notes of one request.
        study: a study is served, whose coders are to see the desk's proposals alone; nobody is told one here.
    """

    async def client_of(request: Request) -> str:
        address = request.client.host if request.client else ""
        client = access.client(request.headers.get("authorization"), address)
        if client is None:
            raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
        return client

    async def no_study() -> None:
        if study:
            raise HTTPException(403, "a study is served, and proposals are at its desk alone; serve without study=")

    router = APIRouter(prefix="/v1", dependencies=[Depends(client_of)])

    @router.get("/health")
    async def health() -> dict[str, Any]:
        """Says that the service answers, with which model, and how many notes wait."""
        return {"status": "ok", "model": model, "cohort": cohort, "waiting": queue.waiting, "limit": queue.limit}

    @router.post("/predict", dependencies=[Depends(no_study)])
    async def predict(request: Request, client: Annotated[str, Depends(client_of)], body: Notes) -> Answer:
        """Proposes DRGs for a note, or for each of a list."""
        notes = body if isinstance(body, list) else [body]
        if len(notes) > most_notes:
            raise HTTPException(413, f"a request has at most {most_notes} notes")
        rows = pl.DataFrame(
            [note.model_dump() for note in notes], schema={"id": pl.String, "text": pl.String, "sections": pl.Boolean}
        )
        scored = await scored_for(request, queue, rows, client)
        return Answer(model=model, cohort=cohort, predictions=[Proposed(**row) for row in scored.to_dicts()])

    return router


async def scored_for(request: Request, queue: ScoringQueue, rows: pl.DataFrame, client: str) -> pl.DataFrame:
    """Has notes scored; takes them out of the queue where the client goes away.

    Raises:
        HTTPException: the queue or the client's share of it is full, or the service ends.
    """
    try:
        future = asyncio.wrap_future(queue.put(rows, client))
    except ShareFullError:
        raise HTTPException(429, "too many of your notes wait; ask again once some are answered", RETRY) from None
    except QueueFullError:
        raise HTTPException(503, f"{queue.limit} notes wait, no more are taken; ask again", RETRY) from None
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((future, gone), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            future.cancel()
            raise HTTPException(499, "the client went away")
        return future.result()
    except (CancelledError, asyncio.CancelledError):
        raise HTTPException(503, "the service ends; ask again", RETRY) from None
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
