"""Groups of commands: what they say of a command that they do not have."""

from __future__ import annotations

import click

__all__ = ["Group"]


class Group(click.Group):
    """Names the commands that come nearest to one that is unknown."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first of ``args`` names. Raises click.UsageError."""
        name = args[0]
        # What looks like an option, click refuses as one.
        if name[:1].isalnum() and not ctx.resilient_parsing and not self.get_command(ctx, name):
            raise click.UsageError(f"No such command {name!r}{self._hint(ctx, name)}", ctx)
        return super().resolve_command(ctx, args)

    def _hint(self, ctx: click.Context, name: str) -> str:
        from difflib import get_close_matches  # noqa: PLC0415 - of no use until something is wrong

        known = [
            known
            for known in self.list_commands(ctx)
            if (command := self.get_command(ctx, known)) is not None and not command.hidden
        ]
        close = get_close_matches(name, known, n=2, cutoff=0.6)
        if not close:
            return f": `{ctx.command_path} --help` lists them"
        return f"; did you mean {' or '.join(map(repr, close))}?"
