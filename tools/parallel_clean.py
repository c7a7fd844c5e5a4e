# ruff: noqa: RUF001  the signs that look alike are what is made one here
"""Make plain sentences of messages written for programs, and leave out what is no translation from English to German.

A message is freed of markup, accelerators and placeholders (`plain`), cut into paragraphs and sentences where both
languages have as many (`pieces`), and each piece is looked at (`fault`). `clean` does all three.
"""

import html
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

Pair = tuple[str, str]

# Quotes and dashes have one form each, as Moses' normalize-punctuation has it: catalogues differ in nothing more.
SIGNS = str.maketrans(
    dict.fromkeys("“”„‟«»″", '"')
    | dict.fromkeys("‐‑–", "-")
    | dict.fromkeys("‘’‚‛`´‹›′", "'")
    | {"—": " - ", "…": "...", "\u00a0": " ", "\u202f": " ", "\u00ad": None, "\u200b": None, "\ufeff": None}
)
CONTEXT = re.compile(r"^(?:_: .*\n|\?\w+:|[\w ]+\^(?=\S))")  # KDE's, Freeciv's and Wesnoth's hints for translators
LYX_KEY = re.compile(r"\|\w$")
MENU_KEY = re.compile(r"\t(?:Ctrl|Strg|Alt|Shift|Umschalt|F\d|Del|Entf)\b.*$")
BREAK = re.compile(r"</?(?:br|p|div|li|ul|ol|tr|td|th|h\d|hr|nl|para|title|list|item|subtitle)\b[^<>]*>", re.IGNORECASE)
TAG = re.compile(
    r"</?(?:a|abbr|application|b|big|blockquote|body|bold|center|code|command|cr|em|emphasis|filename|font|head|html|i|"
    r"icode|img|info|interface|italic|kbd|link|message|meta|nobr|note|placeholder|qt|ref|resource|s|shortcut|small|"
    r"span|strong|sub|sup|table|tt|u|var|warning)\b[^<>]*>",
    re.IGNORECASE,
)
PAIRED = re.compile(r"<([A-Za-z_]+)>([^<>]*)</\1>")  # <color_red>text</color_red>, whatever it is called
LEFT = re.compile(r"<[^<>\s][^<>]*>|</")
ENTITY = re.compile(r"&#?\w+;")
QUOTE = re.compile(r"%[<>]|%'")  # GCC's
PLACEHOLDER = re.compile(
    r"%\((?P<named>\w+)\)[#0-9.+-]*[a-z]|%(?P<place>\d+)\$[-+#0-9.*']*(?:hh?|ll?|[Ljztq])*[A-Za-z]|"
    r"%L?(?P<qt>\d\d?)(?![\d%])|\{(?P<brace>\w*)(?:[:!][^{}]*)?\}|\$\{(?P<shell>\w+)\}|\$(?P<dollar>[A-Za-z_]\w*)\|?|"
    r"%(?:[-+#0q]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh?|ll?|[Ljztqw])*[DEFGLOPTXacdefgimnopqrsuxz])"
)
NAMES = "XYZ"  # what placeholders are called: "Die Datei X wurde nicht gefunden"
# White space before signs, the signs of lists and comments, and a full stop left alone.
SPACED = re.compile(r" (?=[:;,!?](?: |$)|\.\.\.$)|^(?:[#*•]+|-) +| [#*]+$|(?<=\.) \.$")
END = re.compile(
    r"(?<=[.!?])(?<!\b\w\.)(?<!\b(?:Dr|Nr|ca|vs|No|St)\.)(?<!\b(?:etc|usw|bzw|evt|ggf|Mrs)\.)\s+(?=[A-ZÄÖÜ\"'(])"
)
MOST = 2000  # characters: what is longer is a licence or a table
ENGLISH_WORDS = "the of and to is are for with this that you be not from by it your or as can if has have which"
GERMAN_WORDS = """der die das und ist nicht mit von zu für den dem des ein eine einen einer wird werden auf sie im zum
zur oder kann aus bei dieser diese dieses sind wenn keine als es auch durch über"""
ENGLISH, GERMAN = frozenset(ENGLISH_WORDS.split()), frozenset(GERMAN_WORDS.split())


def clean(source: str, target: str) -> Iterator[Pair]:
    """Yield the sentences of a message that are fit to learn from, with their translations."""
    both = plain(source, target)
    if both:
        yield from (pair for pair in pieces(*both) if not fault(*pair))


def plain(source: str, target: str) -> Pair | None:
    """Return both texts without markup, accelerators and placeholders; None where they do not go together.

    Placeholders become X, Y and Z by their order in the source. More than three, or others in the target, do not.
    """
    texts = [_without_markup(CONTEXT.sub("", text)) for text in (source, target)]
    if any(LEFT.search(text) for text in texts):
        return None
    named = _with_names(*texts)
    if named is None:
        return None
    for sign in "_&~":
        named = _without_accelerator(*named, sign)
        if named is None:
            return None
    return named


def _without_markup(text: str) -> str:
    text = MENU_KEY.sub("", LYX_KEY.sub("", QUOTE.sub('"', text)))
    text = TAG.sub("", BREAK.sub("\n\n", text))
    text = PAIRED.sub(r"\2", text)
    return (html.unescape(text) if ENTITY.search(text) else text).translate(SIGNS)


def _with_names(source: str, target: str) -> Pair | None:
    keys = [list(_placeholders(text)) for text in (source, target)]
    names = dict(zip(dict.fromkeys(keys[0]), NAMES, strict=False))
    if set(keys[0]) != set(keys[1]) or len(names) < len(set(keys[0])):
        return None
    named = []
    for text, found in zip((source, target), keys, strict=True):
        places = iter(found)
        text = PLACEHOLDER.sub(
            lambda match, places=places: f"\x02{names[next(places)]}\x03", text.replace("%%", "\x01")
        )
        if re.search(r"\w\x02|\x03[\w\x02]", text):  # a part of a word
            return None
        named.append(text.translate({1: "%", 2: None, 3: None}))
    return named[0], named[1]


def _placeholders(text: str) -> Iterator[str]:
    """Yield what tells each placeholder from the others: its number or name, else how many came before."""
    unnamed = 0
    for match in PLACEHOLDER.finditer(text.replace("%%", "\x01")):
        name = next(filter(None, match.groups()), None)
        unnamed += name is None
        yield name or str(unnamed)


def _without_accelerator(source: str, target: str, sign: str) -> Pair | None:
    """Return both texts without the sign before a menu's letter; words that have it in both languages are names."""
    marked = re.compile(rf"\w*{sign}(?=\w)\w*")
    words = [marked.findall(text) for text in (source, target)]
    if sorted(words[0]) == sorted(words[1]) and all(len(word.partition(sign)[0]) > 1 for word in words[0]):
        return source, target
    if max(sum(word.count(sign) for word in found) for found in words) > 1:
        return None
    return source.replace(sign, "", len(words[0])), target.replace(sign, "", len(words[1]))


def pieces(source: str, target: str) -> Iterator[Pair]:
    """Yield paragraphs, and in them sentences, where both texts have as many and of like lengths; else all in one."""
    for pair in _cut(source, target, lambda text: re.split(r"\n\s*\n", text)):
        for a, b in _cut(*pair, END.split):
            yield _same_end(a, b)


def _cut(source: str, target: str, cut: Callable[[str], list[str]]) -> list[Pair]:
    parts = [
        [tidy for part in cut(text) if (tidy := SPACED.sub("", " ".join(part.split())))] for text in (source, target)
    ]
    pairs = list(zip(*parts, strict=False))
    if len(parts[0]) == len(parts[1]) and all(alike_in_length(*pair) for pair in pairs):
        return pairs
    return [(" ".join(parts[0]), " ".join(parts[1]))]


def _same_end(source: str, target: str) -> Pair:
    """Return the pair with the source's full stop or colon, or none, at the end of the target."""
    for sign in ".:":
        if source.endswith(sign) and re.search(r"\w$", target):
            return source, target + sign
        if target.endswith(sign) and re.search(r"\w$", source) and re.search(r"\w\w.$", target):
            return source, target[:-1]
    return source, target


def alike_in_length(source: str, target: str) -> bool:
    """Return whether the target has between 0.6 and 2 times the source's characters, ten more granted to both."""
    return 0.6 <= (len(target) + 10) / (len(source) + 10) <= 2.0


def fault(source: str, target: str) -> str | None:
    """Return why a pair is not fit to learn from, None where it is.

    The language is told by stop words: as many German ones as English ones at least in the target, as many English ones
    in the source, no script but Latin, and no more than half of the target's words in the source too.
    """
    words = [re.findall(r"[^\W\d_]+", text.lower()) for text in (source, target)]
    checks = (
        ("few words", len(words[0]) < 3 or len(words[1]) < 2 or sum(map(len, words[0])) < 10),
        ("too long", max(len(source), len(target)) > MOST),
        ("lengths", not alike_in_length(source, target)),
        ("few letters", any(_letters(text) < 0.7 for text in (source, target))),
        (
            "code",
            any(
                re.search(r"[\\{}\[\]|<>=^\uFFFD]|Ã|:/|/\w+/|--\w|www\.|@\w|##|\w\((?!\w{1,2}\))", t)
                for t in (source, target)
            ),
        ),
        ("script", any(letter.isalpha() and ord(letter) > 0x24F for letter in source + target)),
        ("numbers", Counter(re.findall(r"\d+", source)) != Counter(re.findall(r"\d+", target))),
        ("language", not _is(words[1], GERMAN, ENGLISH) or not _is(words[0], ENGLISH, GERMAN)),
        ("not translated", 2 * len(set(words[0]) & set(words[1])) > len(set(words[1]))),
    )
    return next((name for name, found in checks if found), None)


def _letters(text: str) -> float:
    return sum(sign.isalpha() for sign in text) / max(1, sum(not sign.isspace() for sign in text))


def _is(words: Iterable[str], this: frozenset[str], other: frozenset[str]) -> bool:
    found = Counter((word in this) - (word in other) for word in words)
    return found[1] >= found[-1]
