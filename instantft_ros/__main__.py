"""The program `instantft`: `instantft evaluate SOURCE`, `instantft versions COMMAND DIR`."""

from __future__ import annotations

import argparse
import sys

from instantft_ros.evaluate import command
from instantft_ros.governance import command as versions_command


def main(argv: list[str] | None = None) -> int:
    """Run a subcommand; an exit code."""
    parser = argparse.ArgumentParser(
        prog='instantft', description='Camera classifiers that learn corrections at once.')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    evaluate = commands.add_parser(
        'evaluate', help='what corrections would have gained on a recording',
        description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(evaluate)
    evaluate.set_defaults(run=command.run)
    versions = commands.add_parser(
        'versions', help='list, compare, carry over and check the adapters of a node',
        description=versions_command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    versions_command.add_arguments(versions)
    arguments = parser.parse_args(argv)
    code: int = arguments.run(arguments)
    return code


if __name__ == '__main__':
    sys.exit(main())
