"""From the text of a ``where`` expression to its tree, by recursive descent."""

from __future__ import annotations

import math

from federation.errors import QueryError, UserError
from federation.queries import syntax
from federation.queries.times import parse_time
from federation.queries.tokens import Token, tokenize

__all__ = ["parse_name", "parse_where"]

#: deepest nesting of parentheses and signs
DEPTH_MAX = 60
_COMPARISONS = {"=": "=", "==": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_REGIONS = {"POINT", "CIRCLE", "POLYGON"}


def parse_where(text: str) -> syntax.Node | None:
    """The tree of an expression, None for an empty one; `QueryError` points at the trouble."""
    parser = _Parser(text)
    if parser.peek().kind == "end":
        return None
    node = parser.condition()
    parser.expect_end()
    return node


def parse_name(text: str) -> syntax.Name:
    """A dotted name alone, as in ``order_by``."""
    parser = _Parser(text)
    node = parser.name()
    parser.expect_end()
    return node


class _Parser:
    """A cursor over the words of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.at = 0
        self.depth = 0

    # -- words ------------------------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)]

    def take(self) -> Token:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, *texts: str) -> Token | None:
        return self.take() if self.peek().is_(*texts) else None

    def expect(self, text: str, why: str) -> Token:
        found = self.accept(text)
        if found is None:
            raise self.unexpected(why)
        return found

    def expect_end(self) -> None:
        if self.peek().kind != "end":
            raise self.unexpected("combine conditions with AND or OR")

    def error(self, message: str, token: Token, hint: str) -> QueryError:
        return QueryError(message, hint=hint, sql=self.text, position=token.position)

    def unexpected(self, hint: str) -> QueryError:
        token = self.peek()
        if token.kind == "end":
            return self.error("the expression ends too early", token, hint)
        return self.error(f"unexpected {token.text!r}", token, hint)

    # -- conditions -------------------------------------------------------------------------------------------

    def condition(self) -> syntax.Node:
        parts = [self.conjunction()]
        while self.accept("OR"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else syntax.Or(tuple(parts), position=parts[0].position)

    def conjunction(self) -> syntax.Node:
        parts = [self.negation()]
        while self.accept("AND"):
            parts.append(self.negation())
        return parts[0] if len(parts) == 1 else syntax.And(tuple(parts), position=parts[0].position)

    def negation(self) -> syntax.Node:
        token = self.accept("NOT")
        if token is None:
            return self.predicate()
        self.deeper(token)
        node = syntax.Not(self.negation(), position=token.position)
        self.depth -= 1
        return node

    def predicate(self) -> syntax.Node:
        if self.peek().is_("GLOB"):
            return self.glob_call()
        left = self.sum()
        token = self.peek()
        if token.kind == "symbol" and token.text in _COMPARISONS:
            self.take()
            return syntax.Compare(_COMPARISONS[token.text], left, self.sum(), position=left.position)
        if self.accept("IS"):
            return self.is_(left)
        negated = token.is_("NOT") and self.peek(1).is_("IN", "BETWEEN", "LIKE", "GLOB", "OVERLAPS")
        if negated:
            self.take()
        match self.peek():
            case Token("keyword", "IN"):
                self.take()
                return syntax.In(left, self.items(), negated, position=left.position)
            case Token("keyword", "BETWEEN"):
                self.take()
                low = self.sum()
                self.expect("AND", "write BETWEEN low AND high")
                return syntax.Between(left, low, self.sum(), negated, position=left.position)
            case Token("keyword", "LIKE" | "GLOB" as word):
                self.take()
                return syntax.Like(left, self.primary(), word == "GLOB", negated, position=left.position)
            case Token("keyword", "OVERLAPS"):
                self.take()
                node = syntax.Overlaps(left, self.sum(), position=left.position)
                return syntax.Not(node, position=left.position) if negated else node
        return left

    def is_(self, left: syntax.Node) -> syntax.Node:
        negated = self.accept("NOT") is not None
        token = self.accept("NULL", "TRUE", "FALSE")
        if token is None:
            raise self.unexpected("IS takes NULL, TRUE or FALSE")
        if token.text == "NULL":
            return syntax.IsNull(left, negated, position=left.position)
        return syntax.IsTrue(left, token.text == "TRUE", negated, position=left.position)

    def glob_call(self) -> syntax.Node:
        token = self.take()
        self.expect("(", "write GLOB(name, 'pattern')")
        part = self.sum()
        self.expect(",", "write GLOB(name, 'pattern')")
        pattern = self.primary()
        self.expect(")", "close the parenthesis")
        return syntax.Like(part, pattern, True, position=token.position)

    def items(self) -> tuple[syntax.Node, ...]:
        if self.peek().kind in {"bind", "name"}:
            return (self.primary(),)
        self.expect("(", "write IN (1, 2, 5..9)")
        found = [self.item()]
        while self.accept(","):
            found.append(self.item())
        self.expect(")", "separate values by commas, and close the parenthesis")
        return tuple(found)

    def item(self) -> syntax.Node:
        start = self.at
        token = self.peek()
        first = self.whole_number()
        if first is None or not self.accept(".."):
            self.at = start
            return self.sum()
        last = self.whole_number()
        if last is None:
            raise self.unexpected("write a range as first..last or first..last:step, with whole numbers")
        step = 1
        if self.accept(":"):
            word = self.peek()
            found = self.whole_number()
            if found is None or found < 1:
                raise self.error("the step of a range is a whole number above 0", word, "write 1..9:2")
            step = found
        if last < first:
            raise self.error(f"the range {first}..{last} is empty", token, "write the smaller number first")
        return syntax.Range(first, last, step, position=token.position)

    def whole_number(self) -> int | None:
        negative = self.peek().is_("-")
        token = self.peek(int(negative))
        if token.kind != "number" or not token.text.isdigit():
            return None
        self.at += 1 + int(negative)
        return -int(token.text) if negative else int(token.text)

    # -- values -----------------------------------------------------------------------------------------------

    def sum(self) -> syntax.Node:
        left = self.product()
        while token := self.accept("+", "-"):
            left = syntax.Arithmetic(token.text, left, self.product(), position=left.position)
        return left

    def product(self) -> syntax.Node:
        left = self.signed()
        while token := self.accept("*", "/", "%"):
            left = syntax.Arithmetic(token.text, left, self.signed(), position=left.position)
        return left

    def signed(self) -> syntax.Node:
        token = self.accept("-", "+")
        if token is None:
            return self.primary()
        self.deeper(token)
        part = self.signed()
        self.depth -= 1
        if token.text == "+":
            return part
        if isinstance(part, syntax.Literal) and type(part.value) in {int, float}:
            return syntax.Literal(-part.value, position=token.position)
        return syntax.Negative(part, position=token.position)

    def primary(self) -> syntax.Node:
        token = self.peek()
        match token.kind:
            case "number":
                self.take()
                return syntax.Literal(self.number(token), position=token.position)
            case "string":
                self.take()
                return syntax.Literal(token.text, position=token.position)
            case "time":
                self.take()
                return syntax.TimeLiteral(self.moment(token), position=token.position)
            case "bind":
                self.take()
                return syntax.Bind(token.text, position=token.position)
            case "name":
                return self.region() or self.name()
            case "keyword" if token.text in {"TRUE", "FALSE", "NULL"}:
                self.take()
                value = {"TRUE": True, "FALSE": False, "NULL": None}[token.text]
                return syntax.Literal(value, position=token.position)
            case "symbol" if token.text == "(":
                return self.parenthesis()
        raise self.unexpected("a name or a value is needed here")

    def parenthesis(self) -> syntax.Node:
        token = self.take()
        self.deeper(token)
        node = self.condition()
        if self.accept(","):
            node = syntax.Span(node, self.sum(), position=token.position)
        self.expect(")", "close the parenthesis")
        self.depth -= 1
        return node

    def region(self) -> syntax.Node | None:
        token, after = self.peek(), self.peek(1)
        word = token.text.upper()
        if word == "REGION" and after.kind == "string":
            self.at += 2
            return syntax.RegionCall(word, text=after.text, position=token.position)
        if word not in _REGIONS or not after.is_("("):
            return None
        self.at += 2
        arguments = [self.sum()]
        while self.accept(","):
            arguments.append(self.sum())
        self.expect(")", "separate numbers by commas, and close the parenthesis")
        return syntax.RegionCall(word, tuple(arguments), position=token.position)

    def name(self) -> syntax.Name:
        token = self.take()
        if token.kind != "name":
            self.at -= 1
            raise self.unexpected("a name is needed here")
        parts = [token.text]
        while self.peek().is_(".") and self.peek(1).kind in {"name", "keyword"}:
            self.at += 1
            part = self.take()
            parts.append(part.text if part.kind == "name" else part.text.lower())
        return syntax.Name(tuple(parts), position=token.position)

    def number(self, token: Token) -> int | float:
        if token.text.isdigit():
            if int(token.text) >= 2**63:
                raise self.error(f"{token.text} is out of range", token, "integers have 64 bits")
            return int(token.text)
        value = float(token.text)
        if math.isinf(value):
            raise self.error(f"{token.text} is out of range", token, "write a smaller number")
        return value

    def moment(self, token: Token) -> int:
        try:
            return parse_time(token.text)
        except UserError as error:
            raise self.error(error.message, token, error.hint) from error

    def deeper(self, token: Token) -> None:
        self.depth += 1
        if self.depth > DEPTH_MAX:
            raise self.error(
                f"the expression is nested more than {DEPTH_MAX} levels deep", token, "write it flatter"
            )
