"""The batch grows while it pays and fits. The devices are fakes: functions from a batch's size to seconds."""

from __future__ import annotations

import pytest

from surveyflow.models.engines.batches import probe_batch_size


class ResourceExhaustedError(Exception):
    """Stands in for TensorFlow's own error."""


class FakeDevice:
    """A device with room for ``room`` cutouts that takes ``start_s`` a pass and does ``lanes`` cutouts at a time, 1 ms each."""

    def __init__(self, room=10**9, start_s=0.0, lanes=1, error=ResourceExhaustedError):
        self.room, self.start_s, self.lanes, self.error, self.asked = room, start_s, lanes, error, []

    def __call__(self, size):
        self.asked.append(size)
        if size > self.room:
            raise self.error("RESOURCE_EXHAUSTED: out of memory" if self.error is RuntimeError else "")
        return self.start_s + 1e-3 * -(-size // self.lanes)


def test_grows_to_the_limit_while_the_rate_rises():
    device = FakeDevice(start_s=10.0)
    assert probe_batch_size(device) == 1024
    assert device.asked == [64, 128, 256, 512, 1024]


def test_stops_where_the_rate_stops_rising():
    device = FakeDevice(lanes=256)
    assert probe_batch_size(device) == 256
    assert device.asked == [64, 128, 256, 512]


@pytest.mark.parametrize("error", [ResourceExhaustedError, RuntimeError])
def test_stops_where_memory_refuses(error):
    device = FakeDevice(room=300, start_s=10.0, error=error)
    assert probe_batch_size(device) == 256
    assert device.asked == [64, 128, 256, 512]


def test_shrinks_where_the_first_size_does_not_fit_and_does_not_grow_again():
    device = FakeDevice(room=20, start_s=10.0)
    assert probe_batch_size(device) == 16
    assert device.asked == [64, 32, 16]


def test_a_device_without_room_for_one_cutout_is_an_error():
    device = FakeDevice(room=0)
    with pytest.raises(ResourceExhaustedError):
        probe_batch_size(device)
    assert device.asked[-1] == 1


@pytest.mark.parametrize("room", [0, 100])
def test_another_error_is_not_taken_for_a_full_device(room):
    with pytest.raises(KeyError):
        probe_batch_size(FakeDevice(room=room, start_s=10.0, error=KeyError))
