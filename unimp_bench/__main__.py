"""`python -m unimp_bench`: the command line without its script."""

from unimp_bench.cli.main import main

main()
