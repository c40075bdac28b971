"""Sound of a source file, carried over to a video that is being written."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator
from fractions import Fraction
from typing import Any

import av
import av.container
import av.error

from tapkit.errors import VideoError


class AudioCopy:
    """The first audio stream of a file, put into `output` packet by packet as far as the picture has come.

    Packets are copied untouched where the container can hold their codec, and encoded anew otherwise.
    Nothing is done for a file without sound.

    Args:
        output: container being written, before its first packet.
        path: file whose sound is taken.
        accepted: codec names that `output` can hold.
        fallback: encoder for all others.

    Raises:
        VideoError: the file cannot be opened.
    """

    def __init__(
        self, output: av.container.OutputContainer, path: str, accepted: Collection[str], fallback: str
    ) -> None:
        self._output = output
        self._path = path
        self._pending: Any = None
        self._origin = 0.0
        self._packets: Iterator[Any] | None = None
        try:
            self._input = av.open(path)
        except (av.error.FFmpegError, OSError) as error:
            raise VideoError(f"{path} cannot be opened to take its sound: {error.strerror or error}") from error
        if not self._input.streams.audio:
            self.close()
            return
        source = self._input.streams.audio[0]
        if source.codec_context.name in accepted:
            self._target: Any = output.add_stream_from_template(source)
            self._packets = self._copied(source)
        else:
            # Opus knows a few sampling rates only; 48 kHz is one of them, and every AAC decoder takes it too.
            self._target = output.add_stream(fallback, rate=48000)
            self._target.codec_context.layout = "mono" if source.codec_context.channels == 1 else "stereo"
            self._packets = self._encoded(source)

    def begin(self, origin: float) -> None:
        """Say which second of the source is second 0 of the output; call it once, before `pull`."""
        self._origin = origin

    def pull(self, until: float) -> None:
        """Write all packets that begin before `until` (seconds of the output; infinity: all there are)."""
        while self._packets is not None:
            packet = self._pending or self._next()
            self._pending = packet
            if packet is None or float(packet.pts * packet.time_base) >= until:
                return
            self._pending = None
            self._output.mux(packet)

    def close(self) -> None:
        """Release the source file; a second call does nothing."""
        self._packets = None
        self._input.close()

    def _next(self) -> Any:
        assert self._packets is not None
        try:
            packet = next(self._packets, None)
        except av.error.FFmpegError as error:
            warnings.warn(f"the sound of {self._path} is damaged and ends early: {error.strerror}", stacklevel=2)
            packet = None
        if packet is None:
            self.close()
        return packet

    def _shift(self, time_base: Fraction) -> int:
        return round(self._origin / time_base)

    def _copied(self, source: Any) -> Iterator[Any]:
        for packet in self._input.demux(source):
            if packet.dts is None or packet.pts is None:
                continue
            shift = self._shift(packet.time_base)
            if shift and packet.pts + (packet.duration or 0) <= shift:
                continue
            packet.pts -= shift
            packet.dts -= shift
            packet.stream = self._target
            yield packet

    def _encoded(self, source: Any) -> Iterator[Any]:
        context = self._target.codec_context
        resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=context.sample_rate)
        for frame in self._input.decode(source):
            if frame.pts is None or frame.time + frame.samples / frame.sample_rate <= self._origin:
                continue
            frame.pts -= self._shift(frame.time_base)
            for part in resampler.resample(frame):
                yield from self._target.encode(part)
        for part in resampler.resample(None):
            yield from self._target.encode(part)
        yield from self._target.encode(None)
