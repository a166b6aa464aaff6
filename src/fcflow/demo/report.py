from pathlib import Path
from fcflow.demo.account import Day


def write_report(day: Day, path: Path) -> None:
    path.write_text("x")
