"""How the peers end that are programs on asyncio."""
import asyncio
import signal


def asked():
    """An event: SIGTERM or SIGINT has come."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    return stopped


async def first(running):
    """Waits for the end of a task, or until that is asked for; has it come to its end?"""
    stopping = asyncio.ensure_future(asked().wait())
    await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
    return running.done()
