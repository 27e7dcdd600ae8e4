import trio
from tests.support.daemon import daemon, until
async def test_parked(nats_server):
    async with daemon(nats_server.url) as movant:
        owner = movant.daemon.parts.owner
        await movant("run.start", workflow="probe.steps", input={"steps": 1, "timeout_s": 1.0}, id="a")
        await movant.view_when("a", lambda view: "nobody serves it" in view["waiting"][0]["detail"])
        owner.live["a"].touched = float("-inf")
        await until(lambda: "a" not in owner.live)
        await trio.sleep(2)
        await movant("run.signal", id="a", name="go")
        await trio.sleep(3)
        view = await movant.view_when("a", lambda view: True)
        print("VIEW", str(view)[:900])
        print("ASKS", [(k, s.parked, s.sent_at, s.deadline, s.spent_s) for k, s in owner.live["a"].asks.items()] if "a" in owner.live else "passive")
        assert False
