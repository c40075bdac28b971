"""Names, labels and paths that were made to be taken for code, markup, formulas, other lines or other files."""

from __future__ import annotations

MARK = "PWNED"
"""Whatever runs as code leaves a file of this name, or sets a variable of it."""

CODE = [
    f"'''+str(open('{MARK}','w'))+r'''",
    f'"""+str(open("{MARK}","w"))+"""',
    f"'+open('{MARK}','w')+'",
    f"\\'''\nopen('{MARK}','w')\n'''",
    f"#DATA#\nopen('{MARK}','w')",
    f'"); {MARK}=1; ("',
    f"'); {MARK}=1; ('",
    f"*/{MARK}=1;/*",
    f"\u2028{MARK}=1;\u2029",
    f"${{{MARK}=1}}",
    f"[exec touch {MARK}]",
    f"[python {{open('{MARK}','w')}}]",
    f"[set {MARK} 1]",
    f"\\[exec touch {MARK}\\]",
    f"a\\\\[exec touch {MARK}]",
    f'" [exec touch {MARK}] "',
    f"}}\n[exec touch {MARK}]\n{{",
    f"$env({MARK})",
    f"`touch {MARK}`",
    f"$(touch {MARK})",
    f"; touch {MARK}",
]
MARKUP = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '" onload="alert(1)',
    "</title><svg/onload=alert(1)>",
    "<!--",
    "]]>",
    "&amp;&#60;script&#62;",
    "[x](javascript:alert(1))",
    "a|b|c",
    "\n# heading\n",
]
FORMULAS = [
    "=cmd|' /C calc'!A0",
    "=HYPERLINK(\"http://x\",A1)",
    "+1+cmd|x",
    "-2+3+cmd|x",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "＝1+1",
    "'=1+1",
    "''",
    "-3",
]  # fmt: skip
TEXT = [
    "a\nb",
    "a\r\nb,1,2,3",
    '"a,""b',
    "a,b;c\td",
    '"',
    "'",
    "\\",
    "a\\",
    "{",
    "}",
    "}{",
    "#7",
    "//8",
    "%s%d%n",
    "%(x)s%%",
    "{0.__class__.__init__.__globals__}",
    "null",
    "nan",
    "1e5",
    "",
    " ",
    "a b",
    "\u00a0",
    "\u3000x",
    "\u202egnp.exe",
    "\u2066x\u2069",
    "\x1b]0;title\x07\x1b[2J",
    "\x7f\x85",
    "\ufeffbom",
    "\uffffx",
    "é" * 200,
    "😀",
    "x" * 10_000,
    "gap_x",
    "points",
    "__proto__",
    "constructor",
]
PATHS = ["../../" + MARK, "/etc/passwd", "C:\\Windows\\x", "..", ".", "~", "CON", "a/../../b", "file:///etc/passwd"]
NAMES = [*CODE, *MARKUP, *FORMULAS, *TEXT, *PATHS]
"""All different; every one a Python string that UTF-8 can hold."""
NO_TEXT = ["a\0b", "\0", "\ud800", "x\udcff"]
"""What no name of a point may hold."""
