"""The one way to say no to a file."""


class InvalidFile(Exception):
    """A file that cannot be used: which one, what is wrong with it, and what to do. Nothing was stored."""

    def __init__(self, file: str, problem: str, advice: str) -> None:
        super().__init__(f"{file}: {problem} {advice}")
        self.file, self.problem, self.advice = file, problem, advice
