"""``python -m deploy_snn`` is the command ``deploy-snn``."""

from .cli.main import main

main()
