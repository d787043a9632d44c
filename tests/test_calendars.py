"""Anchoring through calendars that fail, lie, forget, drip and redirect; none of them is in another's way."""

from collections.abc import Callable, Iterator

import pytest

import calendar_fakes as fakes
from calendar_fakes import DIGEST, Chain, ChainSource, Reply, Scene
from earmark import cbor, ots
from earmark.anchor import calendars, stamp
from earmark.anchor.calendars import BEHIND_PUBLIC, CalendarsTarget
from earmark.anchor.headers import EsploraHeaders, Headers
from earmark.anchor.target import Progress
from earmark.errors import AnchorError, EncodingError
from earmark.evidence import check
from earmark.evidence.bitcoin import MOST_OPS, OTS, REGTEST


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    with fakes.serving(*made.calendars):
        yield made


def final(progress: Progress) -> None:
    """The evidence holds for whoever checks it."""
    assert progress.state == "final"
    assert progress.evidence is not None
    assert check(OTS, REGTEST, progress.evidence, DIGEST) == progress.block


# the way through


def test_a_digest_goes_to_all_and_the_first_block_wins(scene: Scene) -> None:
    payload = scene.send()
    assert [calendar.digests for calendar in scene.calendars] == [[DIGEST]] * 3
    [(method, path, headers)] = scene.calendars[0].requests
    assert (method, path) == ("POST", "/digest")
    assert headers["Accept"] == "application/vnd.opentimestamps.v1"
    assert headers["User-Agent"] == "earmark"
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    payload, progress = scene.poll(payload)
    assert (progress.state, progress.payload) == ("pending", None)
    assert progress.reason == "3 of 3 calendars have it, none in a Bitcoin block yet"
    height = scene.calendars[1].complete()
    scene.calendars[2].complete()
    assert scene.poll(payload)[1].state == "pending"  # none is asked twice in a minute
    payload, progress = scene.poll(payload, 61)
    assert (progress.state, progress.confirmations, progress.reason) == ("mined", 2, "")
    assert progress.block is not None
    assert progress.block.number == height
    assert progress.reference.startswith(f"{scene.calendars[1].url}/timestamp/")
    asked = len(scene.calendars[0].requests)
    scene.chain.mine(count=3)
    assert scene.poll(payload, 61)[1].state == "mined"
    scene.chain.mine(count=1)
    final(scene.poll(payload, 61)[1])
    assert len(scene.calendars[0].requests) == asked  # once there is a block, nobody is asked any more


def test_the_payload_is_deterministic_and_kept_answers_survive_a_restart(scene: Scene) -> None:
    assert scene.target.sign(DIGEST, 0) == scene.target.sign(DIGEST, 0)
    assert scene.target.sign(DIGEST, 0).payload == cbor.encode([DIGEST, []])
    payload = scene.send()
    assert scene.target.send(payload) == payload
    assert [len(calendar.digests) for calendar in scene.calendars] == [1, 1, 1]
    again = stamp.decode(scene.target.replace(payload, 0).payload)
    assert again.pending() == [(stamp.EARLIER, way) for _, way in stamp.decode(payload).pending()]
    scene.calendars[0].complete()
    scene.open()
    payload, progress = scene.poll(payload)
    assert progress.state == "mined"
    for calendar in scene.calendars:
        calendar.gets = [lambda _: Reply(500)] * 9
    scene.chain.mine(count=5)
    scene.open()
    final(scene.poll(payload)[1])


def test_what_was_not_sent_is_unknown(scene: Scene) -> None:
    assert scene.target.poll(scene.target.sign(DIGEST, 0).payload) == Progress("unknown", "")


def test_a_pool_hands_on_to_an_address_that_is_followed_and_to_no_other(scene: Scene) -> None:
    first, second, third = scene.calendars
    first.uri = second.url + "/"
    second.waiting = first.waiting
    third.uri = "http://stranger.example"
    payload = scene.send()
    _, progress = scene.poll(payload)
    assert "2 of 3" in progress.reason
    assert f"{third.url}: names http://stranger.example as its address" in progress.reason
    second.complete()
    assert scene.poll(payload, 61)[1].state == "mined"
    assert all(uri.startswith("https://") for uri in BEHIND_PUBLIC)


@pytest.mark.parametrize("url", ["", "ftp://a", "http://me:hush@host", "https://a/?key=hush", "https://a b"])
def test_an_address_that_cannot_stand_in_an_attestation_is_refused(url: str) -> None:
    chain = Chain(0)
    with pytest.raises(AnchorError, match="https://host"):
        CalendarsTarget([url], Headers(REGTEST, [ChainSource(chain)]), chain=REGTEST)


def test_the_beacon_is_two_below_the_newest_block(scene: Scene) -> None:
    block, header = scene.target.head()
    assert (block.number, header) == (1, scene.chain.headers[1])
    assert scene.target.anchors_left() is None


def test_a_digest_has_32_bytes(scene: Scene) -> None:
    with pytest.raises(EncodingError, match="31 bytes"):
        scene.target.sign(DIGEST[1:], 0)
    for payload in (b"", cbor.encode([DIGEST]), cbor.encode([DIGEST[1:], []]), cbor.encode([DIGEST, [["a", 1]]])):
        with pytest.raises(EncodingError):
            scene.target.poll(payload)


# faults


def pending_at(uri: str, *ops: ots.Op) -> Callable[[Reply], Reply]:
    return lambda _: Reply(200, ots.encode([ots.Branch(ops or (ots.append(b"x"),), ots.pending(uri))]))


SHA1 = (0x02, b"")
WRONG_ANSWERS = {
    "refuses": (lambda _: Reply(503, b"busy"), "answers HTTP 503"),
    "redirects": (lambda _: Reply(302, headers={"Location": "http://127.0.0.1:1/"}), "redirects elsewhere"),
    "is empty": (lambda _: Reply(200), "cut short"),
    "is huge": (lambda _: Reply(200, bytes(20_000)), "more than 10000 bytes"),
    "drips": (lambda reply: Reply(200, reply.body, drip_s=0.05), "timed out"),
    "breaks off": (lambda reply: Reply(200, reply.body, length=500), "unavailable"),
    "is junk": (lambda _: Reply(200, b"\x77" * 50), "unknown operation 77"),
    "has bytes left over": (lambda reply: Reply(200, reply.body + b"\0"), "left over"),
    "uses sha1": (pending_at("http://127.0.0.1:1", SHA1), "leads nowhere"),
    "names a stranger": (pending_at("http://127.0.0.1:1"), "names http://127.0.0.1:1 as its address"),
    "names a script": (
        lambda _: Reply(200, b"\x00" + ots.PENDING + b"\x05\x04a?b="),
        "leads nowhere: a pending attestation whose calendar is not a plain address",
    ),
    "is of another chain": (lambda _: Reply(200, b"\x00" + b"litecoin" + b"\x01\x07"), "leads nowhere"),
}


@pytest.mark.parametrize("fault", WRONG_ANSWERS)
def test_a_wrong_answer_to_a_digest_is_named_and_asked_for_again(scene: Scene, fault: str) -> None:
    wrong, complaint = WRONG_ANSWERS[fault]
    scene.calendars[0].posts = [wrong]
    payload, progress = scene.poll(scene.send())
    assert f"2 of 3 calendars have it, none in a Bitcoin block yet; {scene.calendars[0].url}" in progress.reason
    assert complaint in progress.reason
    assert progress.reason == scene.poll(payload)[1].reason  # it rests, and its fault is said all the while
    assert len(scene.calendars[0].digests) == 1
    payload, progress = scene.poll(payload, 61)
    assert (progress.reason.partition(" calendars")[0], len(scene.calendars[0].digests)) == ("3 of 3", 2)
    scene.calendars[1].complete()
    assert scene.poll(payload, 61)[1].state == "mined"


def test_where_no_calendar_takes_it_all_are_named(scene: Scene) -> None:
    for calendar in scene.calendars:
        calendar.posts = [lambda _: Reply(500)]
    with pytest.raises(AnchorError, match="no calendar took it") as failure:
        scene.send()
    assert all(f"{calendar.url}: answers HTTP 500" in str(failure.value) for calendar in scene.calendars)


def attested(height: int, *ops: ots.Op) -> Callable[[Reply], Reply]:
    return lambda _: Reply(200, ots.encode([ots.Branch(ops, ots.bitcoin(height))]))


WRONG_RESTS = {
    **{name: WRONG_ANSWERS[name] for name in ("refuses", "redirects", "is huge", "drips", "breaks off", "is junk")},
    "never completes": (pending_at("http://127.0.0.1:1"), "answers without a Bitcoin block"),
    "is of another commitment": (attested(2, ots.HASH), "says that Bitcoin block 2 holds it, which does not"),
    "is of a block to come": (
        attested(900, ots.HASH),
        "cannot be confirmed: http://headers.example knows no block 900",
    ),
    "is of a block far off": (attested((1 << 62), ots.HASH), "knows no block"),
    "is of the first block": (attested(0, ots.HASH), "says that Bitcoin block 0 holds it"),
    "is too long": (attested(2, *[ots.append(b"x")] * 255), "cannot be confirmed: a timestamp with more than 256"),
}


@pytest.mark.parametrize("fault", WRONG_RESTS)
def test_a_wrong_way_to_a_block_is_named_and_the_others_go_on(scene: Scene, fault: str) -> None:
    wrong, complaint = WRONG_RESTS[fault]
    payload = scene.send()
    scene.calendars[0].gets = [wrong]
    payload, progress = scene.poll(payload)
    assert progress.state == "pending"
    assert scene.calendars[0].url in progress.reason
    assert complaint in progress.reason
    assert progress.reason == scene.poll(payload)[1].reason
    scene.calendars[1].complete()
    payload, progress = scene.poll(payload, 61)
    assert (progress.state, progress.reason) == ("mined", "")
    scene.chain.mine(count=5)
    final(scene.poll(payload, 61)[1])


def test_a_wrong_answer_does_no_harm_to_a_right_one_from_the_same_calendar(scene: Scene) -> None:
    payload = scene.send()
    scene.calendars[0].gets = [WRONG_RESTS["is of another commitment"][0]]
    payload, _ = scene.poll(payload)
    scene.calendars[0].complete()
    assert scene.poll(payload, 61)[1].state == "mined"


def test_of_many_blocks_in_an_answer_a_few_are_looked_up(scene: Scene) -> None:
    payload = scene.send()
    ways = [ots.Branch((ots.append(bytes([at])), ots.HASH), ots.bitcoin(at % 4)) for at in range(60)]
    scene.calendars[0].gets = [lambda _: Reply(200, ots.encode(ways))]
    before = scene.source.calls
    scene.poll(payload)
    assert scene.source.calls - before <= 2 + 2 * stamp.MAX_KEPT


def and_then(*ways: ots.Branch) -> Callable[[Reply], Reply]:
    """The calendar's own answer with further ways before it."""
    return lambda reply: Reply(200, ots.encode([*ways, *ots.decode(reply.body)]))


@pytest.mark.parametrize("height", [1 << 30, 2])
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_block_that_does_not_hold_it_in_the_first_answer_is_not_kept(
    scene: Scene, height: int, is_alone: bool
) -> None:
    wrong = [ots.Branch((ots.append(bytes([at])), ots.HASH), ots.bitcoin(height)) for at in range(4)]
    scene.calendars[0].posts = [attested(height, ots.HASH) if is_alone else and_then(*wrong)]
    payload, progress = scene.poll(scene.send())
    assert not stamp.decode(payload).complete()
    assert progress.reason.startswith(f"{2 if is_alone else 3} of 3 calendars have it")
    assert (f"{scene.calendars[0].url}: says that Bitcoin block {height} holds it" in progress.reason) == is_alone
    scene.calendars[1].complete()
    assert scene.poll(payload, 61)[1].state == "mined"


def test_a_block_in_the_first_answer_counts_where_it_holds_it(scene: Scene) -> None:
    height = scene.chain.mine(ots.commit(DIGEST, [ots.HASH]))
    scene.calendars[0].posts = [attested(height, ots.HASH)]
    assert scene.poll(scene.send())[1].state == "mined"


def test_a_kept_way_that_nobody_can_confirm_is_in_no_other_ones_way(scene: Scene) -> None:
    before = stamp.decode(scene.send())
    url = scene.calendars[0].url
    payload = before.completed(url, ots.Branch((ots.HASH,), ots.bitcoin(1 << 30))).encode()
    with pytest.raises(AnchorError, match="knows no block 1073741824 yet"):
        scene.poll(payload)
    scene.calendars[1].complete()
    payload, progress = scene.poll(payload, 61)
    assert progress.state == "mined"
    assert progress.reference.startswith(scene.calendars[1].url)


def test_a_way_that_is_too_long_for_evidence_gives_way_to_another(scene: Scene) -> None:
    payload = scene.send()
    [commitment] = scene.calendars[0].waiting
    long = [ots.HASH] * MOST_OPS
    height = scene.chain.mine(ots.commit(commitment, long))
    scene.calendars[0].gets = [attested(height, *long)]
    payload, progress = scene.poll(payload)
    assert progress.state == "pending"
    assert f"cannot be confirmed: evidence: {MOST_OPS + 4} operations" in progress.reason
    kept = stamp.decode(payload)
    [(_, way)] = [(url, way) for url, way in kept.pending() if url == scene.calendars[0].url]
    payload = kept.completed(
        scene.calendars[0].url, stamp.joined(way.ops, ots.Branch(tuple(long), ots.bitcoin(height)))
    )
    scene.calendars[1].complete()
    progress = scene.poll(payload.encode(), 61)[1]
    assert (progress.state, progress.block and progress.block.number) == ("mined", height + 1)


def test_a_calendar_that_always_lies_is_given_a_digest_and_looked_up_as_seldom_as_others(scene: Scene) -> None:
    def lie(_: Reply) -> Reply:
        return Reply(200, ots.encode([ots.Branch((ots.append(bytes(9)), ots.HASH), ots.bitcoin(2))]))

    scene.calendars[0].posts = [lie] * 100
    payload = scene.send()
    for _ in range(59):
        payload, progress = scene.poll(payload, 1)
        assert f"{scene.calendars[0].url}: says that Bitcoin block 2 holds it" in progress.reason
    assert len(scene.calendars[0].requests) == 1
    assert scene.source.calls <= 5
    scene.poll(payload, 2)
    assert len(scene.calendars[0].requests) == 2


def test_a_way_that_the_chain_took_back_is_not_asked_for_again_each_second(scene: Scene) -> None:
    height = scene.chain.mine(ots.commit(DIGEST, [ots.HASH]))
    scene.calendars[0].posts = [attested(height, ots.HASH)] * 100
    payload = scene.send()
    assert scene.poll(payload)[1].state == "mined"
    scene.chain.drop(1)
    scene.chain.mine(count=2)
    scene.clock.now_s += 61
    for _ in range(30):
        payload, progress = scene.poll(payload, 1)
        assert progress.state == "pending"
    assert len([1 for method, *_ in scene.calendars[0].requests if method == "POST"]) == 2


def test_a_calendar_that_took_it_and_forgot_it_is_in_nobodys_way(scene: Scene) -> None:
    scene.calendars[0].forgets = True
    payload = scene.send()
    scene.calendars[2].complete()
    assert scene.poll(payload)[1].state == "mined"


def test_a_slow_calendar_is_left_alone_ten_times_as_long(scene: Scene) -> None:
    payload = scene.send()

    def slow(reply: Reply) -> Reply:
        scene.clock.now_s += 5
        return reply

    scene.calendars[0].gets = [slow]
    scene.poll(payload)
    assert scene.poll(payload, 49)[1].state == "pending"
    assert scene.target._calendars[0].pace.is_resting
    scene.clock.now_s += 2
    assert not scene.target._calendars[0].pace.is_resting


# the chain


def test_a_reorganisation_makes_it_pending_and_the_calendars_are_asked_again(scene: Scene) -> None:
    payload = scene.send()
    scene.calendars[0].complete()
    payload, progress = scene.poll(payload)
    assert progress.state == "mined"
    scene.chain.drop(1)
    scene.chain.mine(count=2)
    scene.calendars[0].undo()
    payload, progress = scene.poll(payload, 61)
    assert progress.state == "pending"
    assert not stamp.decode(payload).complete()
    scene.calendars[0].complete()
    scene.chain.mine(count=5)
    final(scene.poll(payload, 61)[1])


def test_headers_that_are_out_of_reach_are_no_reorganisation(scene: Scene) -> None:
    payload = scene.send()
    scene.calendars[0].complete()
    payload, _ = scene.poll(payload)
    scene.source.down = True
    with pytest.raises(AnchorError, match="on purpose"):
        scene.poll(payload, 61)
    scene.source.down = False
    scene.source.behind = 3
    with pytest.raises(AnchorError, match="knows no block"):
        scene.poll(payload, 121)
    scene.source.behind = 0
    assert scene.poll(payload, 121)[1].state == "mined"


def test_an_answer_that_comes_while_headers_are_out_of_reach_is_asked_for_later(scene: Scene) -> None:
    payload = scene.send()
    scene.calendars[0].complete()
    scene.source.down = True
    payload, progress = scene.poll(payload)
    assert progress.state == "pending"
    assert "cannot be confirmed: http://headers.example is unavailable" in progress.reason
    scene.source.down = False
    assert scene.poll(payload, 121)[1].state == "mined"


def test_headers_come_from_an_explorer(scene: Scene) -> None:
    explorer = fakes.explorer(scene.chain)
    with fakes.serving(explorer):
        headers = Headers(REGTEST, [EsploraHeaders(explorer.url)], scene.clock)
        target = CalendarsTarget([scene.calendars[0].url], headers, chain=REGTEST, clock=scene.clock)
        payload = target.send(target.sign(DIGEST, 0).payload)
        scene.calendars[0].complete()
        scene.chain.mine(count=5)
        progress = target.poll(payload)
        final(progress)
        assert progress.confirmations == calendars.DEPTH
