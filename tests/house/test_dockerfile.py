"""The Dockerfile's steps, performed in a folder: no container engine runs where these tests do."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.house.lockfile import entries

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction; `stage` is 0 for the build, 1 for the image."""

    stage: int
    instruction: str
    arguments: str


def steps() -> list[Step]:
    lines = [line for line in DOCKERFILE.splitlines() if line and not line.startswith("#")]
    found: list[Step] = []
    stage = -1
    for line in lines:
        instruction, _, arguments = line.partition(" ")
        stage += instruction == "FROM"
        found.append(Step(stage, instruction, arguments))
    return found


def of(stage: int, instruction: str) -> list[str]:
    return [s.arguments for s in steps() if (s.stage, s.instruction) == (stage, instruction)]


@dataclass(frozen=True, slots=True)
class Image:
    """A folder that stands for a container's root."""

    root: Path

    def inside(self, command: str) -> str:
        """A command line with the container's own folders moved below our root."""
        return re.sub(r"(?<!\S)/(opt|src|data)\b", rf"{self.root}/\1", command)

    def run(self, command: list[str], cwd: str, **env: str) -> str:
        # Each environment by itself: nothing of the one that runs these tests may leak in.
        clean = {"PATH": os.environ["PATH"], "HOME": str(self.root)}
        pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        done = subprocess.run(
            command,
            cwd=self.root / cwd,
            env={**clean, **pip, **env},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """What the build stage leaves, made of no file that git does not know."""
    image = Image(tmp_path_factory.mktemp("image"))
    (image.root / "data").mkdir()
    workdir = image.root / "src"
    workdir.mkdir()
    for step in steps():
        if step.stage == 0 and step.instruction == "COPY":
            copy(step.arguments.split(), workdir)
        elif step.stage == 0 and step.instruction == "RUN":
            program, *rest = shlex.split(image.inside(step.arguments))
            program = sys.executable if program == "python" else program
            image.run([program, *rest], "src")
    return image


def copy(arguments: list[str], target: Path) -> None:
    *sources, destination = arguments
    for source in sources:
        whole = (ROOT / source).is_dir()
        for file in tracked(source):
            below = Path(file).relative_to(source) if whole else Path(file).name
            goal = target / destination / below
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, goal)


def tracked(source: str) -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "--", source], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = listing.stdout.split()
    assert files, f"{source} is not in git"
    return files


def test_dockerfile_when_it_copies_takes_only_what_dockerignore_lets_through() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    sources = [source for arguments in of(0, "COPY") for source in arguments.split()[:-1]]

    assert {source.split("/")[0] for source in sources} == allowed


def test_dockerfile_image_carries_the_environment_and_runs_as_nobody_special() -> None:
    assert of(1, "COPY") == ["--from=build /opt/relay /opt/relay"]
    assert of(1, "USER") == ["relay"]
    assert [arguments.split()[-1] for arguments in of(1, "RUN")] == ["relay"]
    assert "EXPOSE 8080/tcp 8081/udp 8081/tcp" in DOCKERFILE
    assert "RELAY_HTTP__PORT=8080 RELAY_ICE__UDP_PORT=8081" in DOCKERFILE


def test_dockerfile_when_built_gives_a_relay_that_helps(image: Image) -> None:
    program = json.loads(of(1, "CMD")[0])[0]

    text = image.run([str(image.root / "opt/relay/bin" / program), "--help"], "data")

    assert "serve" in text


def test_dockerfile_when_built_holds_the_locked_runtime_and_nothing_else(image: Image) -> None:
    listing = image.run(
        [str(image.root / "opt/relay/bin/python"), "-m", "pip", "list", "--format=json"], "data"
    )
    installed = {entry["name"].lower().replace("_", "-") for entry in json.loads(listing)}

    wanted = entries(ROOT / "requirements" / "runtime.txt").keys()
    assert installed - {"pip", "setuptools", "relay"} <= wanted
    assert "relay" in installed


def test_dockerfile_when_built_imports_relay_from_its_wheel(image: Image) -> None:
    where = image.run(
        [str(image.root / "opt/relay/bin/python"), "-c", "import relay; print(relay.__file__)"],
        "data",
    )

    assert Path(where.strip()).is_relative_to(image.root / "opt/relay")


def environment(image: Image) -> dict[str, str]:
    """The image's ENV, with its paths below our root."""
    pairs = (pair.partition("=") for line in of(1, "ENV") for pair in line.split())
    found = {name: value for name, _, value in pairs}
    return found | {"PATH": found["PATH"].replace("/opt/relay", f"{image.root}/opt/relay")}


def command_of(instruction: str) -> list[str]:
    """The JSON form of a CMD, or of a HEALTHCHECK's CMD."""
    text = of(1, instruction)[0]
    found: list[str] = json.loads(text[text.index("[") :])
    return found


def test_dockerfile_image_without_keys_refuses_to_serve_the_world(image: Image) -> None:
    world = {"OPENAI_API_KEY": "sk-not-a-key", "RELAY_HTTP__HOST": "0.0.0.0"}
    done = subprocess.run(
        command_of("CMD"),
        cwd=image.root / "data",
        env=environment(image) | world,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 1
    assert "auth.mode" in done.stderr


def test_dockerfile_health_check_tells_a_serving_relay_from_none(image: Image) -> None:
    env = environment(image) | {
        "RELAY_HTTP__PORT": str(free_port()),
        "RELAY_ICE__UDP_PORT": "0",
        "RELAY_ICE__TCP_PORT": "0",
        "RELAY_UPSTREAM__PROVIDER": "simulator",
    }
    before = run_health_check(image, env)

    with subprocess.Popen(command_of("CMD"), cwd=image.root / "data", env=env) as relay:
        try:
            deadline = time.monotonic() + 20
            while (healthy := run_health_check(image, env)) and time.monotonic() < deadline:
                assert relay.poll() is None
        finally:
            relay.terminate()
            code = relay.wait(20)

    assert before != 0
    assert healthy == 0
    assert code == 0


def run_health_check(image: Image, env: dict[str, str]) -> int:
    done = subprocess.run(
        command_of("HEALTHCHECK"),
        cwd=image.root / "data",
        env=env,
        capture_output=True,
        timeout=10,
        check=False,
    )
    return done.returncode


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
