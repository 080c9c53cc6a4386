"""`fetch`: brings data and weights, and refuses what cannot be learnt from before a GPU is waited for."""

from __future__ import annotations

import os
import sys

from inference_server import contract
from inference_server.files import hub, urls
from inference_server.files.errors import FetchError, Kind
from inference_server.files.oci import image
from inference_server.files.oci.credentials import Credentials
from inference_server.serve import model_folder
from inference_server.serve.refusal import InputError
from inference_server.tune import config, data_files, library_keys, pushing
from inference_server.tune.arguments import Arguments
from inference_server.tune.examination import Examination
from inference_server.tune.supervisor import Ending


def fetch(arguments: Arguments) -> Ending:
    """Does it, what is cheap to refuse first. Raises InputError."""
    wanted = config.read(arguments.config_file, arguments.method, library_keys.read())
    if arguments.output_image is not None:
        pushing.check(arguments)
    _bring_data(arguments)
    options = wanted.dataset
    files = data_files.choose(arguments.data, path=options.path, extension=options.extension)
    examination = Examination(files=files, columns=options.columns)
    examination.run()
    _bring_model(arguments)
    names = ", ".join(file.name for file in files[:5]) + (" …" if len(files) > 5 else "")  # noqa: PLR2004
    form = examination.form.value if examination.form else ""
    return Ending(contract.EXIT_OK, f"{examination.rows} rows of {form} in {names} can be learnt from")


def _bring_data(arguments: Arguments) -> None:
    try:
        if arguments.data_image is not None:
            _say(f"pulling the data of {arguments.data_image}")
            image.pull(arguments.data_image, arguments.data, credentials=Credentials.of_folders(arguments.pull_secrets))
        for number, url in enumerate(arguments.data_urls):
            # Two URLs may end in the same name, so each has a folder of its own.
            folder = arguments.data / f"url-{number}" if len(arguments.data_urls) > 1 else arguments.data
            path = urls.download(url, folder, allowed_private=arguments.private)
            _say(f"downloaded {path.name}")
    except FetchError as error:
        raise _refusal(error, "data", contract.EXIT_DATA) from error


def _bring_model(arguments: Arguments) -> None:
    if arguments.is_hub_model:
        reference = f"{arguments.model}@{arguments.revision}" if arguments.revision else arguments.model
        _say(f"downloading {reference}")
        try:
            hub.fetch(reference, arguments.model_folder, token=os.environ.get(contract.ENV_HUB_TOKEN))
        except FetchError as error:
            raise _refusal(error, "model", contract.EXIT_MODEL) from error
    model_folder.check(str(arguments.model_folder), None)


def _refusal(error: FetchError, what: str, code: int) -> InputError:
    """With the code that ends the Job where another try cannot help."""
    if error.kind is Kind.DISK_FULL:
        code = contract.EXIT_OUTPUT
    elif error.retryable:
        code = contract.EXIT_UNAVAILABLE
    return InputError(
        field=f"{what} {error.subject}", rule="brought here", found=error.found, remedy=error.remedy, exit_code=code
    )


def _say(line: str) -> None:
    print(f"inference_server: {line}", file=sys.stderr, flush=True)
