"""A workflow that keeps files with its run, and a service that answers with one."""

import movant

press = movant.Service("press")


@press.operation("print")
async def print_book(request: dict[str, str]) -> movant.Result:
    """Print a text."""
    book = f"%PDF-1.4\n{request['text']}".encode()
    return movant.Result({"pages": 1}, (movant.File("book.pdf", book, "application/pdf"),))


@movant.workflow("report")
async def report(ctx: movant.Context, text: str) -> dict[str, int]:
    """Have a text printed, and keep what is worth keeping."""
    printed: dict[str, int] = await ctx.call("press", "print", {"text": text})
    await ctx.artifact("notes.txt", f"{len(text)} letters")
    await ctx.artifact("totals.json", printed)
    return printed
