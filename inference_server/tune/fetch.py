"""`fetch`: brings data and weights, and refuses what cannot be learnt from before a GPU is waited for."""

from __future__ import annotations

from inference_server import contract
from inference_server.tune import config, data_files, library_keys, pushing, sources
from inference_server.tune.arguments import Arguments
from inference_server.tune.examination import Examination
from inference_server.tune.supervisor import Ending


def fetch(arguments: Arguments) -> Ending:
    """Does it, what is cheap to refuse first. Raises InputError."""
    wanted = config.read(arguments.config_file, arguments.method, library_keys.read())
    if arguments.output_image is not None:
        pushing.check(arguments)
    sources.bring_data(arguments)
    options = wanted.dataset
    files = data_files.choose(arguments.data, path=options.path, extension=options.extension)
    examination = Examination(files=files, columns=options.columns)
    examination.run()
    sources.bring_model(arguments, with_code=wanted.model.trust_remote_code)
    names = ", ".join(file.name for file in files[:5]) + (" …" if len(files) > 5 else "")  # noqa: PLR2004
    form = examination.form.value if examination.form else ""
    return Ending(contract.EXIT_OK, f"{examination.rows} rows of {form} in {names} can be learnt from")
