"""The node: boot order, and the loops that measure, replay, send and free."""

import asyncio
import hashlib
from binascii import hexlify

import beacon
import ed25519
import packs
from answers import Answers
from chain import Chain
from link import Link
from names import Names
from outbox import OutboxError
from pulse import LOOK_S, Pulse
from sender import Sender
from sensors import METHODS, REPLAYED, SensorError, failed, read
from version import VERSION

_SEEN_S = 5  # at shorter intervals not every statement makes a line


def topics(site, name):
    """(up, down, status, beacon, ask, answer) of a node (protocol.md §10)."""
    base = "earmark/v1/" + site + "/"
    own = base + name
    return own + "/up", own + "/down", own + "/status", base + "beacon", own + "/ask", own + "/answer"


def client_id(site, name, password):
    """The node's session at the broker: who could guess its name could end it."""
    words = ["earmark", site, name]
    if password is not None:
        words.append(hexlify(hashlib.sha256(b"session " + password.encode()).digest()[:8]).decode())
    return "-".join(words)


class Node:
    """A node from its boot statement on.  `run` returns once it is done, if its settings let it end, and raises what
    it cannot live with."""

    def __init__(self, settings, signer, outbox, sensors, board, clock, say, slots=None):
        self._settings = settings
        self._signer = signer
        self._outbox = outbox
        self._sensors = sensors
        for sensor in sensors:
            if sensor.driver == "waiting":
                sensor.count = lambda: outbox.count
        self._board = board
        self._clock = clock
        self._say = say
        named = topics(settings["site"], settings["name"])
        self._up, self._down, self._presence, self._beacon, self._ask, self._answer = named
        self._chain = Chain(signer, settings["name"], outbox, clock)
        self._boot_seq = None
        self._software = VERSION
        self._updates = self._make_updates(slots) if slots else None
        self.restarting = False
        self._names = Names(board.name_server)
        self._pulse = Pulse()
        self._link = self._make_link(settings["broker"])
        beat = lambda: self._pulse.beat("sender")  # noqa: E731 - a def of one line would take three
        self._sender = Sender(outbox, self._link, self._up, settings["window"], settings["resend_s"], say, beat)
        self._cycle = self._make_cycle() if settings["mode"] == "deep-sleep" else None
        self._answers = Answers(settings, signer.kid, outbox, self._sender, clock, self._pulse, say, self._answered)
        self._freed = asyncio.Event()
        self._stopped = asyncio.Event()
        self._failure = None
        self._refused = []
        self._replaying = 0
        self._measuring = "cycle" if settings["mode"] == "deep-sleep" else "measure"
        self._no_reading = False
        self._woken = self._resume()

    def _make_link(self, broker):
        tls = broker["tls"]
        return Link(
            broker["host"],
            broker["port"],
            client_id(self._settings["site"], self._settings["name"], broker["password"]),
            [self._down, self._beacon] + ([self._answer] if self._updates else []),
            self._receive,
            self._linked,
            user=broker["user"],
            password=broker["password"],
            tls=self._board.tls(tls) if tls else None,
            server_name=tls["server_name"] if tls else None,
            names=self._names,
            presence=self._presence,
            keepalive_s=broker["keepalive_s"],
            connect_s=broker["connect_s"],
            retry_s=broker["retry_s"],
            window=self._settings["window"],
        )

    def _make_cycle(self):
        from cycle import Cycle

        return Cycle(self, self._settings, self._outbox, self._board, self._clock, self._pulse, self._say)

    def _resume(self):
        """Whether this is a wake from a deep sleep: then what was kept over it goes on."""
        if self._cycle is None or (self._updates and self._updates.on_trial):
            return False  # only a boot statement confirms an update
        kept = self._board.kept()
        state = kept and self._cycle.kept(kept[0], self._chain.boot_count - 1, self._outbox.head[0])
        if not state:
            return False
        self._chain.go_on(state["nonce"] or None)
        self._clock.wake(state["clock"], kept[1], self._board.SLEEP_DRIFT)
        self._sender.checkpoint = state["checkpoint"]
        self._names.known.update(dict(state["names"]))
        self._cycle.resume(state)
        return True

    def state(self):
        """What is to be kept over a deep sleep (retained.py), but for the cycle's own."""
        return {
            "boot_count": self._chain.boot_count,
            "seq": self._outbox.head[0],
            "clock": self._clock.kept(),
            "nonce": self._chain.beacon or b"",
            "checkpoint": self._sender.checkpoint,
            "names": [[host, address] for host, address in sorted(self._names.known.items())],
        }

    def _make_updates(self, slots):
        """The node's updates; None where it takes none."""
        import updates

        own = updates.running(slots)
        self._software = own.version if own else VERSION
        if own is None or self._settings["operator_key"] is None:
            what = "release.cbor in its slot" if own is None else "operator_key in node.json"
            self._say("this node takes no updates: there is no " + what)
            return None
        return updates.Updates(
            self._settings,
            slots,
            own,
            self._board.SYNC,
            self._say,
            self._tell_update,
            lambda payload: self._link.publish(self._ask, payload),
            self._restart,
            self._link_up,
        )

    def _tell_update(self, *what):
        self._chain.updated(*what)
        self._sender.wake()

    async def _link_up(self):
        await self._link.wait_up()

    def updating(self):
        """Whether an update is asked for or under way, so that this is no time to sleep."""
        return self._updates is not None and self._updates.busy

    def _restart(self):
        self.restarting = True
        self._stopped.set()

    async def run(self):
        """Sign the boot statement, unless this is a wake, then live."""
        for wrong in self._outbox.damage:
            self._say("outbox: " + wrong)
        if not self._woken:
            self._boot()
        work = [self._board.watchdog(self._pulse, self._say)]
        if self._cycle:
            work.append(self._cycle.run())
        else:
            recordings = [s for s in self._sensors if s.method == REPLAYED]
            self._replaying = len(recordings)
            work += [self._measure(), self._report()]
            work += [self._replay(recording) for recording in recordings]
        if self._settings["exit_when_done"]:
            work.append(self._finish())
        tasks = [asyncio.create_task(self._guard(each)) for each in work]
        if not self._cycle:
            tasks += [asyncio.create_task(each) for each in self.connecting()]
        await self._stopped.wait()
        for task in tasks:
            task.cancel()
        if self._failure:
            raise self._failure

    async def _guard(self, work):
        """One of the loops: what it cannot live with ends the node."""
        try:
            await work
        except Exception as failure:  # noqa: BLE001 - `run` raises it
            self._failure = failure
            self._stopped.set()

    def connecting(self):
        """The loops that bring what is stored to the gateway, and the light that shows how they fare."""
        work = [self._link.run(), self._sender.run(), self._answers.run()]
        if self._updates:
            work.append(self._updates.run())
        work.append(self._board.network(self._settings, self._clock, self._names, self._say))
        led = self._board.led(self._settings["status_led"])
        if led:
            import light

            work.append(light.show(led, self.code))
        return [self._guard(each) for each in work]

    async def leave(self, word):
        """Take leave of the broker before the loops of `connecting` end."""
        await self._link.close(word)
        self._pulse.rest("sender")
        self._pulse.rest("answers")

    async def freed(self):
        """Wait until an acknowledgement frees something."""
        self._freed.clear()
        await self._freed.wait()

    def code(self):
        """What the light shows."""
        import light

        quiet_s = self._answers.quiet_s()
        return light.first(
            {
                "update": self._updates and self._updates.is_installing,
                "network": not self._board.online(),
                "broker": not self._link.up,
                "gateway": self._outbox.count and quiet_s > 2 * self._settings["resend_s"],
                "outbox": self._outbox.is_half_full,
                "clock": not self._clock.now()[0],
                "sensor": self._no_reading,
            }
        )

    def _boot(self):
        board = "%s; Ed25519 %s" % (self._board.NAME, ed25519.name())
        seq = self._boot_seq = self._chain.boot(self._software, self._board.reset_cause(), board, self._sensors)
        said = (self._chain.boot_count, self._signer.did, seq, self._outbox.count)
        self._say("boot %d of %s: signed seq %d; %d statements wait for the gateway" % said)
        for sensor in self._sensors:
            self._say("sensor %s: %s, %s" % (sensor.name, METHODS[sensor.method], sensor.detail))
        self._tell_dropped()

    def _tell_dropped(self):
        """Sign what gap statements are due.  A refusal of the medium is no refusal of what was stored before."""
        try:
            for told in self._chain.tell_dropped():
                self._say(told + "; a signed gap statement says so")
        except OutboxError as failure:
            self._say("what was given up is told later: %s" % failure)

    # What comes in.

    def _linked(self, text):
        self._say(text)
        self._answers.heard()
        self._sender.wake()

    def _receive(self, topic, payload):
        if topic == self._down:
            self._answers.take(payload)
        elif topic == self._answer and self._updates:
            self._updates.take(payload)
        elif topic == self._beacon:
            try:
                self._chain.beacon = beacon.nonce(payload)
            except (ValueError, MemoryError) as wrong:
                self._say("a beacon was ignored: %s" % wrong)

    def _answered(self, runs, freed):
        """An acknowledgement of these runs counted."""
        booted = self._boot_seq
        if self._updates and booted and any(first <= booted <= last for first, last in runs):
            self._updates.acknowledged()
        if freed:
            self._freed.set()

    # What goes out.

    async def _measure(self):
        while any(s.method != REPLAYED for s in self._sensors):
            due_ms = self._clock.uptime_ms() + self._settings["interval_s"] * 1000
            await self.measure()
            while self._clock.uptime_ms() < due_ms:
                self._pulse.beat("measure")
                await asyncio.sleep(min(LOOK_S, (due_ms - self._clock.uptime_ms()) / 1000))

    async def measure(self):
        """Read every sensor once, sign and store."""
        live = [s for s in self._sensors if s.method != REPLAYED]
        self._no_reading = False
        for method in sorted({s.method for s in live}):
            await self._sample(method, [s for s in live if s.method == method])

    async def _sample(self, method, group):
        readings = []
        for sensor in group:
            self._pulse.beat(self._measuring)
            try:
                fresh = await read(sensor)
                for name, _, error in fresh:
                    if name.endswith("/error"):
                        self._no_reading = True
                        self._say("no reading of %s: %s" % (name[:-6], error))
            except SensorError as failure:
                self._no_reading = True
                self._say("no reading of %s: %s" % (sensor.name, failure))
                fresh = [failed(sensor.name, failure.error)]
            readings += fresh
            await asyncio.sleep(0)
        seconds = self._clock.now()[0]
        for payload in packs.of_readings(self._settings["name"] + "/", seconds, readings):
            try:
                self._store(method, payload)
            except OutboxError as failure:
                self._say("readings were lost: %s" % failure)

    def _store(self, method, payload, positions=None):
        self._pulse.feed()
        seq = self._chain.readings(method, payload, positions)
        if self._settings["interval_s"] >= _SEEN_S and method != REPLAYED:
            self._say("signed seq %d: %d bytes of readings, %s" % (seq, len(payload), METHODS[method]))
        self._tell_dropped()
        self._sender.wake()

    async def _replay(self, recording):
        from replaying import Replay

        await Replay(recording, self._settings, self._chain, self._outbox, self._store, self._freed, self._say).run()
        self._replaying -= 1
        self._freed.set()

    async def _finish(self):
        """Stop once every recording is at its end and nothing waits for the gateway."""
        while self._replaying or self._outbox.count:
            self._freed.clear()
            await self._freed.wait()
        self._say("done: " + self._status())
        self._stopped.set()

    async def _report(self):
        while True:
            await asyncio.sleep(self._settings["status_s"])
            self._say("status: " + self._status())
            step_s = self._clock.host_step_s()
            if step_s:
                self._say("somebody set the host's clock by %d s: what was signed before is off by as much" % step_s)

    def _status(self):
        text = "seq %d, %d wait for the gateway, %d acknowledged and %d refused since the start, outbox %d bytes, %s"
        return text % (
            self._outbox.head[0],
            self._outbox.count,
            self._answers.acknowledged,
            self._answers.refused,
            self._outbox.size,
            "connected" if self._link.up else "not connected",
        )
