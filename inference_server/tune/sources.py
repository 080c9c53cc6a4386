"""Brings data and weights from where they are, and tells failures that another try may mend from the others."""

from __future__ import annotations

import os

from inference_server import contract
from inference_server.files import urls
from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from inference_server.files.progress import silent
from inference_server.notice import tell
from inference_server.refusal import InputError
from inference_server.tune import base_model
from inference_server.tune.arguments import Arguments
from inference_server.weights.model_folder import model_folder
from inference_server.weights.origins import HubOrigin, RegistryOrigin, origin_of
from inference_server.weights.source import Source


def bring_data(arguments: Arguments) -> None:
    """Fills the data's folder from an image or from URLs; a mounted volume is there already. Raises InputError."""
    try:
        if arguments.data_image is not None:
            tell(f"pulling the data of {arguments.data_image}")
            image.pull(arguments.data_image, arguments.data, credentials=Credentials.of_folders(arguments.pull_secrets))
        for number, url in enumerate(arguments.data_urls):
            # Two URLs may end in the same name, so each has a folder of its own.
            folder = arguments.data / f"url-{number}" if len(arguments.data_urls) > 1 else arguments.data
            path = urls.download(url, folder, allowed_private=arguments.private)
            tell(f"downloaded {path.name}")
    except FetchError as error:
        raise _refusal(error, "data", contract.EXIT_DATA) from error


def bring_model(arguments: Arguments, *, with_code: bool = False) -> None:
    """Brings the base model from its hub or registry, and looks at it; `with_code` its own programs too.

    Raises InputError.
    """
    if arguments.weights is not None:
        tell(f"fetching {arguments.weights}")
        hub = HubOrigin(token=os.environ.get(contract.ENV_HUB_TOKEN) or None, with_code=with_code)
        try:
            source = Source.parse(arguments.weights)
            origin_of(hub, RegistryOrigin(secrets=arguments.pull_secrets))(source).fetch(
                source, arguments.model, silent
            )
            model_folder(arguments.model, str(source))
        except FetchError as error:
            raise _refusal(error, "model", contract.EXIT_MODEL) from error
    base_model.find(arguments.model)


def _refusal(error: FetchError, what: str, code: int) -> InputError:
    """With the code that ends the Job where another try cannot help."""
    if error.kind is Kind.DISK_FULL:
        code = contract.EXIT_OUTPUT
    elif error.retryable:
        code = contract.EXIT_UNAVAILABLE
    return InputError(
        field=f"{what} {error.subject}", rule="brought here", found=error.found, remedy=error.remedy, exit_code=code
    )
