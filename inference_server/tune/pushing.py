"""Pushes the adapter as an image that a Workspace can name as an adapter's source."""

from __future__ import annotations

from typing import Final

from inference_server import contract
from inference_server.files.clock import Clock, SystemClock
from inference_server.files.errors import FetchError
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from inference_server.files.oci.reference import Reference
from inference_server.notice import tell
from inference_server.refusal import InputError
from inference_server.tune import adapter
from inference_server.tune.arguments import Arguments

# Between whole pushes; each request of one is tried again by the client itself.
WAITS_S: Final = (15.0, 60.0)


def check(arguments: Arguments) -> None:
    """Whether the reference and the Secrets can be read. Raises InputError."""
    try:
        Reference.parse(arguments.output_image or "")
        Credentials.of_folders(arguments.push_secrets)
    except FetchError as error:
        raise _refusal(error) from error


def push(arguments: Arguments, clock: Clock | None = None) -> str:
    """Pushes, again where that may help, and returns `registry/repository:tag@sha256:…`. Raises InputError."""
    clock = clock or SystemClock()
    for wait_s in (*WAITS_S, None):
        try:
            return f"{arguments.output_image}@{_push(arguments, clock)}"
        except FetchError as error:
            if wait_s is None or not error.retryable:
                raise _refusal(error) from error
            tell(f"{error}; trying again in {wait_s:.0f} s")
            clock.sleep(wait_s)
    raise AssertionError


def _push(arguments: Arguments, clock: Clock) -> str:
    return image.push(
        arguments.output,
        adapter.FILES,
        arguments.output_image or "",
        credentials=Credentials.of_folders(arguments.push_secrets),
        annotations={contract.ANNOTATION_MODEL_NAME: arguments.model_name},
        clock=clock,
    )


def _refusal(error: FetchError) -> InputError:
    return InputError(
        field=f"output image {error.subject}",
        rule="pushed there",
        found=error.found,
        remedy=error.remedy,
        exit_code=contract.EXIT_OUTPUT,
    )
