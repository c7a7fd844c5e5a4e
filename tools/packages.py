"""Fetch the named, pinned public packages that `assets/` is built from, and check each by digest."""

import base64
import hashlib
import subprocess
import tarfile
from pathlib import Path

WORK = Path(__file__).parent.parent / ".work"

# npm packages: version and the registry's own sha512 of the tarball.
NPM = {
    "@iconify-json/noto": (
        "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    "@iconify-json/twemoji": (
        "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
    "@iconify-json/openmoji": (
        "1.2.29",
        "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
    ),
    "@iconify-json/fluent-emoji-flat": (
        "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    "emojibase-data": (
        "17.0.0",
        "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    ),
    "@iconify-json/emojione": (
        "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
    "@iconify-json/noto-v1": (
        "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    "@iconify-json/fxemoji": (
        "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
    ),
}

# Debian packages (bookworm): version and sha256 of the file.
DEBIAN = {
    "dataset-fashion-mnist": (
        "0.0~git20200523.55506a9-1",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    ),
    "ferret-datasets": ("7.6.0-5", "e5770222647ebfe2ab77b845e07a7e05cb6fed7b12dec9ae287a1f8046031744"),
    "tuxpaint-stamps-default": ("2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"),
    "openclipart-svg": ("1:0.18+dfsg-19", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
    "wordnet-base": ("1:3.0-37", "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752"),
}


def npm(name: str) -> Path:
    """Return the unpacked folder of an npm package; ValueError when its digest differs."""
    version, sha512 = NPM[name]
    archive = WORK / f"{name.replace('@', '').replace('/', '-')}-{version}.tgz"
    folder = archive.with_suffix("")
    if not folder.exists():
        WORK.mkdir(exist_ok=True)
        subprocess.run(
            ["npm", "pack", "--silent", f"{name}@{version}"], cwd=WORK, check=True, stdout=subprocess.DEVNULL
        )
        _check(archive, "sha512", base64.b64decode(sha512).hex())
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return folder / "package"


def debian(name: str) -> Path:
    """Return the unpacked root of a Debian package; ValueError when its digest differs."""
    version, sha256 = DEBIAN[name]
    folder = WORK / f"{name}-{version.replace(':', '%3a')}"
    if not folder.exists():
        WORK.mkdir(exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", f"{name}={version}"], cwd=WORK, check=True)
        archive = next(WORK.glob(f"{name}_*.deb"))
        _check(archive, "sha256", sha256)
        subprocess.run(["dpkg", "-x", str(archive), str(folder)], check=True)
    return folder


def _check(archive: Path, algorithm: str, expected: str) -> None:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, algorithm).hexdigest()
    if found != expected:
        raise ValueError(f"{archive.name}: {algorithm} is {found}, expected {expected}")
