"""What one can break in a C function without knowing what it is for.

candidates() walks the tokens of the function bodies of a file and yields every mutant the operators below make of it. It leans
on the house style, which clang-format keeps: binary operators stand between spaces, unary ones touch their operand, every
branch has braces. Assertions, strings, comments and memory orders are left alone: a test on one machine cannot see the
last, test/model is there for them.
"""

import collections
import re

# Text [start, end) of the file becomes NEW. OLD_LINES and NEW_LINES are the whole lines it touches, for people.
Mutant = collections.namedtuple("Mutant", "operator file function line old_lines new_lines start end new")

TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/|//[^\n]*)
      | (?P<directive>^[ \t]*\#(?:[^\n\\]|\\.|\\\n)*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<number>\b(?:0[xX][0-9a-fA-F]+|\d+)[uUlL]*\b)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<operator><<=|>>=|->|\+\+|--|<<|>>|<=|>=|==|!=|&&|\|\||[-+*/%&|^]=|[-+*/%&|^~!<>=?:;,.(){}\[\]])
      | (?P<space>\s+)""",
    re.X | re.M | re.S,
)

# Operator -> what it becomes, where it stands between two operands.
BINARY = {
    "<": ["<="], "<=": ["<"], ">": [">="], ">=": [">"], "==": ["!="], "!=": ["=="],
    "+": ["-"], "-": ["+"], "*": ["/"], "/": ["*"], "%": ["/"],
    "<<": [">>"], ">>": ["<<"], "&": ["|"], "|": ["&"], "^": ["|"],
    "&&": ["||"], "||": ["&&"],
    "+=": ["-=", "="], "-=": ["+=", "="], "*=": ["/="], "/=": ["*="], "|=": ["&=", "="], "&=": ["|=", "="],
}

# Names of which one can stand where the other does.
SWAPS = {}
for one, other in [
    ("true", "false"), ("min_size", "max_size"),
    ("KIND_DIRTY", "KIND_FRESH"), ("GROUP_SLAB", "GROUP_RUN"), ("PAGE_FREE", "PAGE_BODY"),
    ("OWNER_IDLE", "OWNER_ACTIVE"), ("SLAB_FULL", "SLAB_EMPTY"), ("SLAB_BUSY", "SLAB_SPARSE"),
    ("ZONE_NORMAL", "ZONE_HIGHMEM"),
]:
    SWAPS[one], SWAPS[other] = other, one
FIELDS = {"head": "tail", "tail": "head", "next": "prev", "prev": "next"}

DECLARES = {
    "struct", "enum", "union", "const", "static", "register", "void", "bool", "char", "short", "int", "long", "unsigned",
    "signed", "float", "double", "_Atomic", "__thread",
}
KEYWORDS = {"if", "else", "for", "while", "do", "switch", "case", "default", "return", "goto", "sizeof"}

Token = collections.namedtuple("Token", "kind text start end")


def tokenize(text):
    """The tokens of TEXT but comments, directives and space."""
    tokens, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if not match:
            raise ValueError(f"cannot read C at {text[at:at + 30]!r}")
        if match.lastgroup not in ("comment", "directive", "space"):
            tokens.append(Token(match.lastgroup, match.group(), match.start(), match.end()))
        at = match.end()
    return tokens


def closing(tokens, at):
    """The index of the bracket that closes the one at AT."""
    depth = 0
    for i in range(at, len(tokens)):
        depth += tokens[i].text in "([{" and tokens[i].kind == "operator"
        depth -= tokens[i].text in ")]}" and tokens[i].kind == "operator"
        if not depth:
            return i
    raise ValueError("unbalanced brackets")


def function_bodies(tokens):
    """Names of function definitions and the ranges of tokens between their braces."""
    i, name = 0, ""
    while i < len(tokens):
        if tokens[i].text == "(":
            name = tokens[i - 1].text
            i = closing(tokens, i)
        elif tokens[i].text == "{":
            end = closing(tokens, i)
            if tokens[i - 1].text == ")":
                yield name, i + 1, end
            i = end
        i += 1


def is_declaration(token):
    return token.text in DECLARES or token.text.endswith("_t")


class Body:
    """One function's tokens, and the mutants of each operator."""

    def __init__(self, text, tokens):
        self.text = text
        self.tokens = self.without_assertions(tokens)

    @staticmethod
    def without_assertions(tokens):
        kept, i = [], 0
        while i < len(tokens):
            if tokens[i].text == "ASSERT":
                i = closing(tokens, i + 1) + 2  # and the semicolon
                continue
            kept.append(tokens[i])
            i += 1
        return kept

    def between_spaces(self, token):
        return self.text[token.start - 1].isspace() and self.text[token.end].isspace()

    def mutants(self):
        yield from self.words_and_operators()
        yield from self.conditions()
        yield from self.ternaries()
        yield from self.deletions()

    def words_and_operators(self):
        for i, token in enumerate(self.tokens):
            if token.kind == "operator" and token.text in BINARY and self.between_spaces(token):
                for new in BINARY[token.text]:
                    yield "operator", token.start, token.end, new
            elif token.text in ("++", "--"):
                yield "operator", token.start, token.end, "--" if token.text == "++" else "++"
            elif token.kind == "number":
                digits = token.text.rstrip("uUlL")
                suffix = token.text[len(digits):]
                value = int(digits, 0)
                yield "constant", token.start, token.end, f"{value + 1}{suffix}"
                if value:
                    yield "constant", token.start, token.end, f"{value - 1}{suffix}"
            elif token.text in FIELDS and self.tokens[i - 1].text in (".", "->"):
                yield "swap", token.start, token.end, FIELDS[token.text]
            elif token.text in SWAPS:
                yield "swap", token.start, token.end, SWAPS[token.text]

    def conditions(self):
        for i, token in enumerate(self.tokens):
            if token.text not in ("if", "while"):
                continue
            start, end = self.tokens[i + 1].end, self.tokens[closing(self.tokens, i + 1)].start
            yield "condition", start, end, f"!({self.text[start:end]})"
            yield "condition", start, end, "0"
            if token.text == "if":
                yield "condition", start, end, "1"

    def ternaries(self):
        for i, token in enumerate(self.tokens):
            if token.text != "?":
                continue
            depth, at = 0, i - 1
            while at >= 0 and not (depth == 0 and self.tokens[at].text in
                                   ("(", "[", "{", "}", ",", ";", "return", "?", ":", "=", "+=", "-=", "|=", "&=")):
                depth += self.tokens[at].text in ")]"
                depth -= self.tokens[at].text in "(["
                at -= 1
            start, end = self.tokens[at + 1].start, self.tokens[i - 1].end
            yield "condition", start, end, f"!({self.text[start:end]})"

    def deletions(self):
        """Statements that declare nothing."""
        i = 0
        while i < len(self.tokens):
            begins = not i or self.tokens[i - 1].text in (";", "{", "}")
            token = self.tokens[i]
            if token.text == "(":
                i = closing(self.tokens, i) + 1  # the semicolons of a for statement end no statement
                continue
            if begins and not is_declaration(token) and token.text not in KEYWORDS and token.text not in "{}":
                end = i
                while self.tokens[end].text != ";":
                    end = closing(self.tokens, end) + 1 if self.tokens[end].text in "([{" else end + 1
                yield "deletion", token.start, self.tokens[end].end, ";"
                i = end
            i += 1


def whole_lines(text, start, end):
    """The lines [START, END) touches, as offsets."""
    return text.rfind("\n", 0, start) + 1, text.find("\n", end)


def squeeze(text):
    return " ".join(text.split())


def make_mutant(operator, file, function, text, start, end, new):
    first, last = whole_lines(text, start, end)
    return Mutant(operator, file, function, text.count("\n", 0, start) + 1, squeeze(text[first:last]),
                  squeeze(text[first:start] + new + text[end:last]), start, end, new)


def candidates(file, text):
    tokens = tokenize(text)
    for function, first, last in function_bodies(tokens):
        for operator, start, end, new in Body(text, tokens[first:last]).mutants():
            yield make_mutant(operator, file, function, text, start, end, new)
