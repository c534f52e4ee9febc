"""One file for each format that objects go out in."""
