"""The one way to say no to a file."""


class InvalidFile(Exception):
    """A file that cannot be used: which one, what is wrong with it, and what to do. Nothing was stored."""

    def __init__(self, file: str, problem: str, advice: str) -> None:
        super().__init__(f"{file}: {problem} {advice}")
        self.file, self.problem, self.advice = file, problem, advice

    @property
    def message(self) -> str:
        """What is wrong and what to do, for a place that names the file already."""
        return f"{self.problem} {self.advice}"

    @property
    def entry(self) -> dict[str, str]:
        """{"file", "message"}, as lists of faulty files have it."""
        return {"file": self.file, "message": self.message}
