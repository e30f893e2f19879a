"""What operators do by clicking: the same actions as over HTTP, from forms that work without JavaScript."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker_agents.model.ticket import describe_problems
from worker_agents.web import audit, bodies
from worker_agents.web.actions import caller_of
from worker_agents.web.audit import Caller
from worker_agents.web.guards import Refused, read_body, refuse_other_sites
from worker_agents.web.operator_actions import ActionOutcome, OperatorActions
from worker_agents.web.page.pages import SECURITY_HEADERS, Pages
from worker_agents.web.page.sessions import Notice, Session, Sessions, set_cookie

_NAME = TypeAdapter[str](bodies.Name)

Form = Mapping[str, list[str]]
Act = Callable[[Form, Session, Caller], Awaitable[ActionOutcome]]


def form_routes(pages: Pages, actions: OperatorActions, sessions: Sessions) -> list[Route]:
    """Signing in and out, every action, and the page of dead letters."""
    forms = _Forms(pages, actions, sessions)
    return [
        Route("/sign-in", forms.ask_for_token),
        Route("/sign-in", forms.sign_in, methods=["POST"]),
        Route("/sign-out", forms.sign_out, methods=["POST"]),
        Route("/dead-letters", forms.dead_letters),
        forms.action("cancel", forms.cancel, asks="Give this ticket up? Its result will be FAILED, cancelled."),
        forms.action("retry", forms.retry),
        forms.action("pause", forms.pause),
        forms.action("resume", forms.resume),
        forms.action("drain", forms.drain, asks="Drain this worker? It takes no more tickets and ends."),
        forms.action("replay", forms.replay, asks="Send these dead letters again? Their tickets run anew."),
    ]


class _Forms:
    def __init__(self, pages: Pages, actions: OperatorActions, sessions: Sessions) -> None:
        self._pages = pages
        self._actions = actions
        self._sessions = sessions

    # --- signing in ----------------------------------------------------------------------------------------------

    async def ask_for_token(self, request: Request) -> Response:
        return self._pages.page("sign_in.html", request, problem="", can=self._sessions.are_possible)

    async def sign_in(self, request: Request) -> Response:
        caller = caller_of(request)
        try:
            refuse_other_sites(request)
            form = await _read(request)
            by = _NAME.validate_python(_only(form, "by").strip())
        except (Refused, ValidationError) as error:
            problem = error.detail if isinstance(error, Refused) else f"name: {error.errors()[0]['msg']}"
            return self._not_signed_in(request, caller, "", problem, 400)
        barred = self._sessions.are_barred
        name = self._sessions.sign_in(by, _only(form, "token"))
        if name is None:
            problem = "too many wrong tokens: try again in a minute" if barred else "that is not the admin token"
            return self._not_signed_in(request, caller, by, problem, 429 if barred else 401)
        self._actions.audit.acted(audit.Request("sign_in", by=by), caller, "signed_in", 303)
        response = RedirectResponse("/", 303, headers=SECURITY_HEADERS)
        set_cookie(response, name)
        return response

    def _not_signed_in(self, request: Request, caller: Caller, by: str, problem: str, status: int) -> Response:
        self._actions.audit.refused(audit.Request("sign_in", by=by), caller, problem, status)
        can = self._sessions.are_possible
        return self._pages.page("sign_in.html", request, status=status, problem=problem if can else "", can=can)

    async def sign_out(self, request: Request) -> Response:
        self._sessions.sign_out(request)
        return RedirectResponse("/", 303, headers=SECURITY_HEADERS)

    # --- actions -------------------------------------------------------------------------------------------------

    def action(self, name: str, act: Act, *, asks: str = "") -> Route:
        """One that ``asks`` is carried out when the answer, a second form, comes."""

        async def endpoint(request: Request) -> Response:
            try:
                session, form = await self._authorised(request)
            except Refused as refusal:
                asked = audit.Request(name)
                self._actions.audit.refused(asked, caller_of(request), refusal.detail, refusal.status)
                return self._pages.page("refused.html", request, status=refusal.status, problem=refusal.detail)
            if asks and not form.get("confirmed"):
                kept = [(field, value) for field, values in form.items() if field != "csrf" for value in values]
                return self._pages.page("confirm.html", request, asks=asks, action=name, kept=kept, back=_back(form))
            session.notice = await self._notice(act, form, session, caller_of(request))
            return RedirectResponse(_back(form), 303, headers=SECURITY_HEADERS)

        return Route(f"/act/{name}", endpoint, methods=["POST"])

    async def _authorised(self, request: Request) -> tuple[Session, Form]:
        refuse_other_sites(request)
        session = self._sessions.of(request)
        if session is None:
            raise Refused(401, "you are not signed in, or no longer")
        form = await _read(request)
        if not session.is_proven_by(_only(form, "csrf")):
            raise Refused(403, "the form is not from a page of your session")
        return session, form

    @staticmethod
    async def _notice(act: Act, form: Form, session: Session, caller: Caller) -> Notice:
        try:
            outcome = await act(form, session, caller)
        except ValidationError as error:
            return Notice(good=False, text=describe_problems(error))
        target = _only(form, "ticket_id") or _only(form, "task_type")
        return Notice(outcome.ok, f"{target}: {outcome.detail}" if target else outcome.detail)

    async def cancel(self, form: Form, session: Session, caller: Caller) -> ActionOutcome:
        ticket_id = bodies.TICKET_NAME.validate_python(_only(form, "ticket_id"))
        return await self._actions.cancel(ticket_id, bodies.CancelOrder(**_who_and_why(form, session)), caller)

    async def retry(self, form: Form, session: Session, caller: Caller) -> ActionOutcome:
        ticket_id = bodies.TICKET_NAME.validate_python(_only(form, "ticket_id"))
        return await self._actions.retry(ticket_id, bodies.RetryOrder(**_who_and_why(form, session)), caller)

    async def pause(self, form: Form, session: Session, caller: Caller) -> ActionOutcome:
        task_type = bodies.TASK_TYPE_NAME.validate_python(_only(form, "task_type"))
        wanted = {"for_seconds": _only(form, "for_seconds")} if _only(form, "for_seconds") else {}
        order = bodies.PauseOrder.model_validate({**_who_and_why(form, session), **wanted})
        return await self._actions.pause(task_type, order, caller)

    async def resume(self, form: Form, session: Session, caller: Caller) -> ActionOutcome:
        task_type = bodies.TASK_TYPE_NAME.validate_python(_only(form, "task_type"))
        return await self._actions.resume(task_type, bodies.ResumeOrder(**_who_and_why(form, session)), caller)

    async def drain(self, form: Form, session: Session, caller: Caller) -> ActionOutcome:
        return await self._actions.drain(bodies.DrainOrder(**_who_and_why(form, session)), caller)

    async def replay(self, form: Form, session: Session, caller: Caller) -> ActionOutcome:
        order = bodies.ReplayOrder(letters=tuple(form.get("letter", ())), **_who_and_why(form, session))
        return await self._actions.replay(order, caller)

    # --- dead letters --------------------------------------------------------------------------------------------

    async def dead_letters(self, request: Request) -> Response:
        session = self._sessions.of(request)
        if session is None:
            return RedirectResponse("/sign-in", 303, headers=SECURITY_HEADERS)
        outcome = await self._actions.preview_dead_letters(
            bodies.LetterQuery(limit=bodies.MAX_LETTERS), caller_of(request), session.by
        )
        letters = outcome.data.letters if isinstance(outcome.data, bodies.LettersAnswer) else ()
        problem = "" if outcome.ok else outcome.detail
        return self._pages.page("dead_letters.html", request, letters=letters, problem=problem)


async def _read(request: Request) -> Form:
    """The fields of a form. Raises :class:`Refused`."""
    try:
        return parse_qs((await read_body(request)).decode(), max_num_fields=4 * bodies.MAX_LETTERS)
    except ValueError as error:
        raise Refused(400, "the form cannot be read") from error


def _only(form: Form, field: str) -> str:
    return form.get(field, [""])[0]


def _who_and_why(form: Form, session: Session) -> dict[str, Any]:
    return {"by": session.by, "reason": _only(form, "reason")}


def _back(form: Form) -> str:
    """Where to go afterwards: a path of this server, whatever the form says."""
    back = _only(form, "back")
    is_ours = back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable() and "\\" not in back
    return back if is_ours else "/"
