"""The two sides of every check: a worker asked directly, and the gateway before both workers."""

from fleet import shared


class Worker:
    side = "worker"
    server = "weir-worker"

    def address(self):
        return shared().workers[0]


class Gateway:
    side = "gateway"
    server = "weir"

    def address(self):
        return shared().gateway
