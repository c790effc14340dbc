"""An asyncio client with calls that block, so that it can be checked like one that has no event loop."""

import asyncio
import inspect


class Blocking:
    """`make` builds the client, within the event loop that its calls then run in. `client` is the client itself."""

    def __init__(self, make):
        self._loop = asyncio.new_event_loop()

        async def made():
            return make()

        self.client = self._loop.run_until_complete(made())

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*arguments, **options):
            result = method(*arguments, **options)
            return self.wait(result) if inspect.isawaitable(result) else result

        return call

    def wait(self, awaitable):
        """The result of something of this client's that can be awaited."""
        return self._loop.run_until_complete(awaitable)

    def together(self, name, calls):
        """The results of a call made with each of these arguments, all at once."""

        async def gathered():
            return await asyncio.gather(*(getattr(self.client, name)(*arguments) for arguments in calls))

        return self.wait(gathered())

    def close(self):
        self.wait(self.client.close())
        self._loop.close()
