"""Updates and the loader: what a node takes and refuses, and the power cut at every operation on the medium."""

import asyncio
import hashlib
import os
import sys

import scratch
import unittest_mini as unittest

import asking
import cbor
import cose
import files
import installing
import loader
import release
import statement
import updates
from identity import Identity

OPERATOR, GATEWAY, STRANGER = (Identity(bytes([number]) * 32) for number in (1, 2, 3))
ORIGIN = "earmark/farm/" + "".join("%02x" % octet for octet in GATEWAY.kid)
SETTINGS = {"site": "farm", "name": "node-1", "operator_key": OPERATOR.key, "gateway_key": GATEWAY.key}
SETTINGS.update({"update_s": 1, "trial_s": 1})
OLD = {"main.py": b"old", "app.py": b"1" * 90}
NEW = {"main.py": b"new", "app.py": b"2" * 5000, "board/linux.py": b"", "version.py": b"3" * 2048}

asking._ANSWER_S = 0.02


def sha256(content):
    return hashlib.sha256(content).digest()


def manifest(number, contents, **changes):
    rows = [[path, len(contents[path]), sha256(contents[path])] for path in sorted(contents)]
    fields = {"number": number, "version": "v%d" % number, "target": "linux", "mpy": 0}
    fields.update(changes)
    return cbor.encode({1: fields["number"], 2: fields["version"], 3: fields["target"], 4: fields["mpy"], 5: rows})


def said(raw, number=2, by=OPERATOR, iss=None, seq=9, **changes):
    body = {0: "update", 1: number, 2: "v%d" % number, 3: "linux", 4: sha256(raw), 5: len(raw), 6: ORIGIN, 7: []}
    body.update({int(label[1:]): value for label, value in changes.items()})
    claims = {1: iss or by.did, 2: "registry", 6: 1790000000, -65537: (seq, bytes(32)), -65538: (4, 1, 1)}
    header = {cose.ALG: cose.EDDSA, cose.CONTENT_TYPE: statement.BODY, cose.KID: by.kid, cose.CLAIMS: claims}
    return cose.sign1(by, header, cbor.encode(body))


class PowerCut(BaseException):
    """The power went."""


class Medium:
    """What changes files, counted; the power goes in the middle of operation `cut`, counted from 0."""

    def __init__(self):
        self.done = 0
        self.cut = None

    def step(self):
        if self.done == self.cut:
            self.done += 1
            raise PowerCut()
        self.done += 1

    def open(self, path, mode="rb"):
        if mode == "rb":
            return open(path, mode)
        self.step()
        return Writing(self, open(path, mode))

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in ("remove", "rename", "mkdir"):
            return real

        def changing(*paths):
            self.step()
            return real(*paths)

        return changing


class Writing:
    def __init__(self, medium, stream):
        self.medium, self.stream = medium, stream

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def write(self, content):
        try:
            self.medium.step()
        except PowerCut:
            self.stream.write(content[: len(content) // 2])
            raise
        return self.stream.write(content)

    def flush(self):
        self.stream.flush()

    def fileno(self):
        return self.stream.fileno()


class Scene:
    """A node's directory, a gateway that answers what it is asked, and what the node signs."""

    def __init__(self, offer, served):
        self.root = scratch.folder()
        self.medium = Medium()
        for module in (updates, installing, loader, files):
            module.open, module.os = self.medium.open, self.medium
        self.served = served
        self.offer = offer
        self.told = []
        self.said = []
        self.asked = 0
        self.restarts = 0
        os.mkdir(self.root + "/a")
        for path, content in OLD.items():
            self.put("/a/" + path, content)
        self.put("/a/release.cbor", manifest(1, OLD))

    def put(self, path, content):
        with open(self.root + path, "wb") as stream:
            stream.write(content)

    def close(self):
        for module in (updates, installing, loader, files):
            module.open, module.os = open, os
        scratch.remove(self.root)

    def boot(self):
        """Start as the loader does; returns the number of the release that runs."""
        self.slots = loader.Slots(self.root, self.root)
        for slot in self.slots.pick():
            if self.is_whole(slot):
                self.slots.started(slot)
                break
            self.slots.failed(slot)
        own = updates.running(self.slots)
        hands = (lambda *told: self.told.append(told), self.ask, self.restart, self.ready)
        self.node = updates.Updates(SETTINGS, self.slots, own, scratch.NoSync(), self.said.append, *hands)
        return own.number

    def is_whole(self, slot):
        try:
            with open(self.slots.path(slot) + "/release.cbor", "rb") as stream:
                found = release.manifest(stream.read())
        except (OSError, ValueError):
            return False
        for path, size, digest in found.files:
            with open(self.slots.path(slot) + "/" + path, "rb") as stream:
                content = stream.read()
            if len(content) != size or sha256(content) != digest:
                raise AssertionError("slot %d is marked as whole and is not: %s" % (slot, path))
        return True

    async def ask(self, payload):
        self.asked += 1
        fields = cbor.decode(payload)
        if isinstance(fields[1], str):
            self.node.take(self.offer if self.offer else payload)
        else:
            digest, at, most = fields[1:]
            piece = self.served.get(digest, b"")[at : at + most]
            self.node.take(cbor.encode([1, digest, at, piece]))

    async def ready(self):
        pass

    def restart(self):
        self.restarts += 1

    def look(self):
        asyncio.run(self.node._look())

    def outcomes(self):
        return [told[3] for told in self.told]


def served(*contents):
    return {sha256(content): content for content in contents}


RAW = manifest(2, NEW)
SERVED = served(RAW, *NEW.values())


class UpdateCase(unittest.TestCase):
    def scene(self, offer=None, given=None):
        made = Scene(offer or said(RAW), SERVED if given is None else given)
        self.made = made
        return made

    def tearDown(self):
        self.made.close()


class Check(UpdateCase):
    def test_an_update_is_fetched_tried_and_confirmed(self):
        scene = self.scene()
        self.assertEqual(scene.boot(), 1)
        scene.look()
        self.assertEqual((scene.restarts, scene.outcomes()), (1, ["downloading", "trial"]))
        self.assertEqual(scene.boot(), 2)
        self.assertTrue(scene.node.on_trial)
        scene.node.acknowledged()
        self.assertEqual(scene.outcomes(), ["downloading", "trial", "confirmed"])
        self.assertEqual(scene.told[2][1:3], (1, 2))
        self.assertEqual(scene.told[2][0], statement.entry(scene.offer))
        self.assertEqual(scene.boot(), 2)
        scene.look()
        self.assertEqual(len(scene.told), 3)
        self.assertEqual(loader.Slots(scene.root, scene.root).floor, 2)

    def test_three_starts_without_the_gateway_lead_back_for_good(self):
        scene = self.scene()
        scene.boot()
        scene.look()
        self.assertEqual([scene.boot() for _ in range(5)], [2, 2, 2, 1, 1])
        asyncio.run(self.a_while(scene.node.run()))
        self.assertEqual(scene.outcomes(), ["downloading", "trial", "returned"])
        scene.offer = said(RAW, seq=10)  # signed again: tried again
        scene.boot()
        scene.look()
        self.assertEqual(scene.boot(), 2)

    async def a_while(self, work):
        task = asyncio.create_task(work)
        await asyncio.sleep(0.1)
        task.cancel()
        try:  # noqa: SIM105 - MicroPython has no contextlib
            await task
        except asyncio.CancelledError:
            pass

    def test_a_release_that_does_not_start_leads_back_at_once(self):
        scene = self.scene()
        scene.boot()
        scene.look()
        os.remove(scene.root + "/b/release.cbor")
        self.assertEqual([scene.boot(), scene.boot()], [1, 1])
        self.assertEqual(scene.slots.told, loader.RETURNED)

    def refused(self, offer, given, why):
        scene = self.scene(offer, given)
        scene.boot()
        scene.look()
        self.assertEqual(scene.told[-1][3], "refused")
        self.assertTrue(why in scene.told[-1][4], scene.told[-1][4])
        self.assertEqual((scene.restarts, scene.boot()), (0, 1))
        before = len(scene.told)
        scene.look()
        self.assertEqual(len(scene.told), before)

    def test_wrong_bytes_of_a_file(self):
        given = dict(SERVED)
        given[sha256(NEW["app.py"])] = b"x" * 5000
        self.refused(None, given, "not what the operator signed")

    def test_a_file_of_another_in_its_place(self):
        given = dict(SERVED)
        given[sha256(NEW["version.py"])] = NEW["app.py"]
        self.refused(None, given, "not what the operator signed")

    def test_another_manifest(self):
        given = dict(SERVED)
        given[sha256(RAW)] = RAW[:-1] + b"\0"
        self.refused(None, given, "manifest")

    def test_a_manifest_of_another_release_target_or_interpreter(self):
        for changes in ({"number": 3}, {"target": "esp32"}, {"version": "v3"}, {"mpy": 11014}):
            raw = manifest(**dict({"number": 2, "contents": NEW}, **changes))
            self.refused(said(raw), served(raw), "")
            self.made.close()
        self.scene()

    def test_no_way_down(self):
        raw = manifest(1, NEW)
        self.refused(said(raw, 1), served(raw, *NEW.values()), "no way down")

    def test_the_light_can_say_that_one_is_being_installed(self):
        scene = self.scene()
        scene.boot()
        seen, plain = [], scene.ask

        async def ask(payload):
            seen.append(scene.node.is_installing)
            await plain(payload)

        scene.node._asking._ask = ask
        scene.look()
        self.assertEqual((seen[0], set(seen[1:]), scene.node.is_installing), (False, {True}, False))

    def test_a_truncated_file_waits(self):
        given = dict(SERVED)
        given[sha256(NEW["app.py"])] = NEW["app.py"][:4000]
        scene = self.scene(None, given)
        scene.boot()
        with self.assertRaises(asking.Wait):
            scene.look()
        scene.served = SERVED
        self.assertEqual(scene.boot(), 1)
        scene.look()
        self.assertEqual(scene.boot(), 2)

    def test_nothing_that_is_not_checked_lies_where_it_could_be_imported(self):
        given = dict(SERVED)
        given[sha256(NEW["app.py"])] = b"x" * 4999
        scene = self.scene(None, given)
        scene.boot()
        with self.assertRaises(asking.Wait):
            scene.look()
        found = [name for name in os.listdir(scene.root + "/b") if name.endswith("py")]
        for name in found:
            with open(scene.root + "/b/" + name, "rb") as stream:
                self.assertEqual(stream.read(), NEW[name])

    def test_a_medium_without_room_is_left_as_it_was(self):
        scene = self.scene()
        scene.boot()

        def full():
            if scene.medium.done > 9:
                raise OSError(28)
            scene.medium.done += 1

        scene.medium.step = full
        scene.medium.remove = os.remove
        scene.look()
        self.assertEqual(scene.outcomes(), ["downloading", "refused"])
        self.assertEqual(installing._below(scene.root + "/b", ""), [])
        self.assertEqual((scene.boot(), scene.restarts), (1, 0))

    def test_an_update_takes_no_room_that_the_outbox_needs(self):
        scene = self.scene()
        scene.boot()
        needed = 4 + installing._SPARE // 4096  # blocks: 5,000 bytes take two
        scene.medium.statvfs = lambda path: (4096, 4096, 0, 0, needed - 1)
        scene.look()
        self.assertEqual(scene.outcomes(), ["downloading", "refused"])
        self.assertTrue("no room" in scene.told[-1][4])
        scene.offer = said(RAW, seq=10)
        scene.medium.statvfs = lambda path: (4096, 4096, 0, 0, needed)
        scene.look()
        self.assertEqual(scene.boot(), 2)

    def test_old_updates_that_somebody_repeats_are_answered_once_in_a_while(self):
        scene = self.scene()
        scene.boot()
        scene.look()
        scene.boot()
        scene.node.acknowledged()
        del scene.told[:]
        raws = [manifest(1, NEW), manifest(2, NEW)]
        offers = [said(raw, number + 1, seq=20 + number) for number, raw in enumerate(raws)]

        async def repeat():
            scene.node._every_s = 60
            task = asyncio.create_task(scene.node.run())
            for number in range(20):
                scene.node.take(offers[number % 2])
                await asyncio.sleep(0.01)
            task.cancel()

        asyncio.run(repeat())
        self.assertEqual(scene.outcomes(), ["refused"])

    def test_what_else_comes_makes_no_wait_longer(self):
        scene = self.scene()
        scene.boot()

        async def disturb():
            waiting = asyncio.create_task(scene.node._asking.until(0.05, lambda: scene.node._asking._answer))
            for _ in range(20):
                scene.node.take(b"\xd2")
                await asyncio.sleep(0.01)
            self.assertTrue(waiting.done())
            self.assertFalse(await waiting)

        asyncio.run(disturb())

    def test_answers_to_other_questions_are_passed_over(self):
        scene = self.scene()
        scene.boot()
        plain = scene.ask
        wrong = [cbor.encode([1, bytes(32), 0, b"x"]), b"", b"\xff", cbor.encode([1, sha256(RAW), 0, b"x" * 4096])]

        async def ask(payload):
            if wrong and not isinstance(cbor.decode(payload)[1], str):
                scene.node.take(wrong.pop())
            else:
                await plain(payload)

        scene.node._asking._ask = ask
        scene.look()
        self.assertEqual(scene.boot(), 2)

    def test_who_may_say_it(self):
        key, name = OPERATOR.key, "node-1"

        def read(raw, target="linux"):
            return release.update(raw, key, ORIGIN, name, target)

        self.assertEqual(read(said(RAW)).number, 2)
        self.assertEqual(read(said(RAW, _7=["a", "node-1"])).digest, sha256(RAW))
        for raw in (said(RAW, _6=ORIGIN.replace("farm", "barn")), said(RAW, _7=["node-2"])):
            self.assertEqual(read(raw), None)
        self.assertEqual(read(said(RAW), "esp32"), None)
        right = said(RAW)
        for raw in (
            said(RAW, by=GATEWAY),
            said(RAW, by=STRANGER),
            said(RAW, by=STRANGER, iss=OPERATOR.did),
            right[:-1] + bytes([right[-1] ^ 1]),
            said(RAW, _0="enrolment"),
            said(RAW, _1=0),
            said(RAW, _5=8193),
            said(RAW, _4=bytes(31)),
            b"\xd2",
            RAW,
        ):
            with self.assertRaises(ValueError):
                read(raw)
        self.scene()


class PowerCuts(UpdateCase):
    """The same life with a power cut at each operation in turn; without one it makes as many as `operations` says."""

    def life(self, cut, confirmed):
        scene = self.scene()
        scene.medium.cut = cut
        for _ in range(9):
            try:
                number = scene.boot()
                if scene.slots.known and scene.slots.trial == 0 and self.is_over(scene, confirmed):
                    break
                if scene.node.on_trial:
                    if confirmed:
                        scene.node.acknowledged()
                else:
                    scene.node._tell_outcome()
                    scene.look()
                self.assertTrue(number in (1, 2))
            except PowerCut:
                pass
        done, scene.medium.cut = scene.medium.done, None
        self.assertEqual(scene.boot(), 2 if confirmed else 1)
        self.assertFalse(scene.node.on_trial)
        scene.node._tell_outcome()
        self.assertEqual(scene.outcomes()[-1], "confirmed" if confirmed else "returned")
        scene.close()
        return done

    def is_over(self, scene, confirmed):
        return scene.slots.entry == statement.entry(scene.offer) and (scene.slots.active == 1) == confirmed

    def every_cut(self, confirmed):
        operations = self.life(None, confirmed)
        self.assertTrue(operations > 20)
        for cut in range(operations):
            self.life(cut, confirmed)
        self.scene()

    def test_at_every_operation_of_an_update_that_is_confirmed(self):
        self.every_cut(True)

    def test_at_every_operation_of_an_update_that_goes_back(self):
        self.every_cut(False)


class LoaderState(UpdateCase):
    def test_either_copy_will_do_and_without_both_either_slot(self):
        scene = self.scene()
        scene.boot()
        scene.look()
        scene.boot()
        scene.node.acknowledged()
        kept = {}
        for number in (0, 1):
            with open(scene.root + "/slots.%d" % number, "rb") as stream:
                kept[number] = stream.read()
        self.assertEqual({len(content) for content in kept.values()}, {loader._SIZE})
        for number in (0, 1):
            for at in range(loader._SIZE):
                content = bytearray(kept[number])
                content[at] ^= 1
                scene.put("/slots.%d" % number, bytes(content))
                self.assertTrue(loader.Slots(scene.root, scene.root).known)
            scene.put("/slots.%d" % number, kept[number])
        for number in (0, 1):
            scene.put("/slots.%d" % number, kept[number][:-1])
        slots = loader.Slots(scene.root, scene.root)
        self.assertEqual((slots.known, slots.pick()), (False, [0, 1]))
        os.remove(scene.root + "/a/release.cbor")
        self.assertEqual(scene.boot(), 2)

    def test_an_update_beside_a_slot_that_broke_tries_that_slot(self):
        scene = self.scene()
        scene.boot()
        scene.look()
        scene.boot()
        scene.node.acknowledged()
        os.remove(scene.root + "/b/release.cbor")
        self.assertEqual(scene.boot(), 1)
        newest = manifest(3, NEW)
        scene.offer, scene.served = said(newest, 3), served(newest, *NEW.values())
        scene.look()
        self.assertEqual((scene.boot(), scene.node.on_trial), (3, True))

    def started(self, *whole):
        """Start as a board does, whose loader lies where `main` is found too; both slots were never confirmed."""
        scene = self.scene()
        os.remove(scene.root + "/a/release.cbor")
        os.remove(scene.root + "/a/main.py")
        os.mkdir(scene.root + "/b")
        scene.put("/b/main.py", b"def main(given, slots):\n    return slots.running\n")
        scene.put("/main.py", b"")
        for name in whole:
            scene.put("/%s/release.cbor" % name, b"")
        before, path = sys.modules.pop("main", None), list(sys.path)
        sys.path.insert(0, scene.root)
        try:
            return loader.start(loader.Slots(scene.root, scene.root), [])
        finally:
            sys.path[:] = path
            sys.modules.pop("main", None)
            if before:
                sys.modules["main"] = before
            scene.close()

    def test_a_slot_without_main_does_not_start_the_loader_again(self):
        self.assertEqual(self.started(), 1)
        self.scene()

    def test_a_slot_that_is_not_whole_is_not_started_beside_one_that_is(self):
        self.assertEqual(self.started("b"), 1)
        with self.assertRaises(RuntimeError):
            self.started("a")
        self.scene()

    def test_a_start_that_cannot_be_counted_is_none(self):
        scene = self.scene()
        scene.boot()
        scene.look()
        slots = loader.Slots(scene.root, scene.root)
        slots._home = scene.root + "/nowhere"
        self.assertEqual(slots.pick(), [0, 1])


if __name__ == "__main__":
    unittest.main()
