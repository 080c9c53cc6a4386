"""``python -m kaito_controller`` is ``kaito-controller``."""

import sys

from kaito_controller.cli.controller import main

sys.exit(main())
