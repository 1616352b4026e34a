"""Makes every recorded voice of this repository: `python scripts/make_speech.py`.

Two voices, so that no test can take an echo for an answer: the simulator's (a high one, each
sentence led in by a chime of 880 Hz, then 1320 Hz) and the tests' (a low one, the microphone).
Needs espeak-ng and ffmpeg with libopus; the results are committed, so nobody else needs them.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ANSWERS = ROOT / "relay" / "simulator" / "speech"
VOICES = ROOT / "tests" / "voices"

CHIME_HZ = (880, 1320)
TRIM = "silenceremove=start_periods=1:start_threshold=-50dB,areverse"
"""Applied twice: the reversal makes the second pass trim the end."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """An espeak-ng voice: `pitch` 0 to 99, `speed` in words a minute."""

    voice: str
    pitch: int
    speed: int


SIMULATOR = Speaker("en-us+f4", pitch=70, speed=165)
CALLER = Speaker("en-gb+m3", pitch=25, speed=150)


def main() -> None:
    lines = json.loads((ANSWERS / "lines.json").read_text(encoding="utf-8"))
    for line in [*lines["turns"], lines["tool"]]:
        make_answer(line["text"], lines["chime_ms"], ANSWERS / f"{line['name']}.opus")
    for voice in json.loads((VOICES / "voices.json").read_text(encoding="utf-8")):
        make_voice(voice, VOICES / f"{voice['name']}.opus")


def make_answer(text: str, chime_ms: int, target: Path) -> None:
    """One sentence of the simulator: two tones of equal length in `chime_ms`, then the speech."""
    tone_s = (chime_ms - 40) / 1000 / len(CHIME_HZ)
    inputs = [f"sine=frequency={hz}:sample_rate=48000:duration={tone_s}" for hz in CHIME_HZ]
    tones = ";".join(f"[{n}]volume=2[t{n}]" for n in range(len(CHIME_HZ)))
    joined = "".join(f"[t{n}]" for n in range(len(CHIME_HZ)))
    graph = (
        f"{tones};{joined}concat=n={len(CHIME_HZ)}:v=0:a=1,apad=pad_dur=0.04[chime];"
        f"[{len(CHIME_HZ)}]aresample=48000,{TRIM},{TRIM},volume=0.7[speech];"
        "[chime][speech]concat=n=2:v=0:a=1[out]"
    )
    _render(text, SIMULATOR, inputs, graph, target)


def make_voice(voice: dict[str, object], target: Path) -> None:
    """One microphone recording: silence, the sentence, silence; played in a loop by Chromium."""
    graph = (
        f"[0]aresample=48000,{TRIM},{TRIM},"
        f"adelay={voice['before_ms']},apad=pad_dur={voice['after_ms']}ms[out]"
    )
    _render(str(voice["text"]), CALLER, [], graph, target)


def _render(text: str, speaker: Speaker, inputs: list[str], graph: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        spoken = Path(scratch) / "spoken.wav"
        _run("espeak-ng", "-v", speaker.voice, "-p", str(speaker.pitch), "-s", str(speaker.speed),
             "-w", str(spoken), text)  # fmt: skip
        sources = [part for source in inputs for part in ("-f", "lavfi", "-i", source)]
        _run("ffmpeg", "-v", "error", "-y", *sources, "-i", str(spoken),
             "-filter_complex", graph, "-map", "[out]", "-ac", "1", "-ar", "48000",
             "-c:a", "libopus", "-b:a", "24k", "-application", "voip", "-frame_duration", "20",
             "-fflags", "+bitexact", "-flags", "+bitexact", "-map_metadata", "-1",
             str(target))  # fmt: skip
    print(f"{target.relative_to(ROOT)}: {target.stat().st_size} bytes")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)  # noqa: S603 — fixed programs, texts from our own files


if __name__ == "__main__":
    main()
