"""The catalogue: every gate with its severity, what it judges, and what a hit means.

Defects are what an environment must not have; notes are true as well, and tell what published numbers are worth.
"""

from __future__ import annotations

from toolfoundry.check.report import Gate, Unit

__all__ = ["GATES"]


def _defect(name: str, unit: Unit, title: str, meaning: str) -> Gate:
    return Gate(name=name, severity="defect", unit=unit, title=title, meaning=meaning)


def _note(name: str, unit: Unit, title: str, meaning: str) -> Gate:
    return Gate(name=name, severity="note", unit=unit, title=title, meaning=meaning)


# fmt: off
_GATES = (
    # --- question and answers
    _defect("answer-in-question", "environment", "The final answer stands in the question",
        "A policy can pick it from the question without a call: a choice between two named things is a coin toss."),
    _defect("golden-in-question", "goal", "A sub-answer stands in the question",
        "The question gives away what a tool was to find out."),
    _note("weak-golden", "goal", "A golden has fewer than four characters",
        "As a bare substring it is found in unrelated text: '1' is in '2010', 'a' in every sentence."),
    _note("duplicate-golden", "goal", "Two goals of one tool have the same answer",
        "One result fits both: under the published rule the same call, made twice, solves both."),
    _defect("final-inconsistent", "environment", "The final answer does not follow from the sub-answers",
        "Neither a sub-answer nor a sum, difference, product, ratio, percentage or span of them: who calls every "
        "tool rightly and reasons rightly is marked wrong."),
    _defect("near-duplicate", "environment", "Nearly the same as an earlier environment",
        "The same words in the question, or the same tools with the same answers."),
    _defect("answer-in-document", "goal", "A golden stands in a tool's document",
        "A description, default, enum or example shows the answer before any call."),
    _defect("carried-enum", "goal", "A parent's answer is carried by an enum, a boolean or a default",
        "The later hop can be asked without the earlier answer."),
    # --- schema and source
    _defect("schema-invalid", "tool", "The parameters are not a valid JSON Schema of an object",
        "Endpoints refuse such a tool, or each reads it in its own way."),
    _defect("default-invalid", "tool", "A default that its own schema rejects",
        "The document tells the model a value that the document forbids."),
    _defect("source-invalid", "tool", "The source cannot be parsed",
        "The tool can never run."),
    _defect("function-missing", "tool", "The source does not define the function",
        "Every call fails."),
    _defect("mismatch-required", "tool", "The function needs a parameter that the schema calls optional",
        "A call that is valid by the document raises a TypeError."),
    _defect("mismatch-optional", "tool", "The schema requires a parameter that the function does not need",
        "The document asks the model for more than the tool wants."),
    _defect("mismatch-unknown", "tool", "The schema has a parameter that the function does not take",
        "A call that uses it raises a TypeError."),
    _defect("mismatch-missing", "tool", "The function takes a parameter that the schema does not show",
        "The model cannot know of it."),
    _defect("dead-parameter", "tool", "A parameter is never read",
        "The document promises an effect that the function does not have; read from the source."),
    _defect("parameter-without-effect", "tool", "A parameter is read, but no effect of it was found",
        "No two schema-valid calls that differ only in it gave different results; found by execution."),
    _note("effect-not-found", "tool", "A parameter of a tool without a gold call, and no effect of it was found",
        "Like parameter-without-effect, but the search had to find calls that work, and may have missed some."),
    _defect("undefined-name", "tool", "The function reads a name that nothing defines",
        "The calls that get that far end in a NameError, wherever they are executed."),
    _defect("hidden-names", "tool", "Names that the published way of executing hides from the tool",
        "`exec` inside a function makes module-level imports, constants and helpers invisible: NameError."),
    _defect("top-level-effects", "tool", "Statements at module level that do something",
        "Prints and example calls run before every call."),
    _defect("clock-or-randomness", "tool", "Reads the clock, draws random numbers or uses addresses",
        "The same call can give another result tomorrow."),
    _defect("forbidden-import", "tool", "Imports a module that tools cannot have",
        "The sandbox refuses it."),
    _defect("dangerous-call", "tool", "Evaluates code, opens files or starts processes",
        "Harmless in the sandbox; wherever tools are executed in the trainer's process it is a way in."),
    _note("baked-answer", "goal", "The golden is a literal of its tool's source",
        "The tool is a look-up table: nothing is computed."),
    _note("shared-name", "name", "One tool name, different code in different environments",
        "A model cannot learn what a tool of that name does."),
    # --- executed
    _defect("call-fails", "tool", "A schema-valid call breaks the tool",
        "It ends in an exception that the source does not raise itself, in a timeout or in a crash."),
    _defect("nondeterministic", "tool", "The same call gives different results",
        "In a fresh worker, a week later by its clock and with other entropy."),
    _defect("placeholder-answers", "goal", "A call without knowledge gives the golden",
        "Placeholder arguments are accepted as right; compared as typed values."),
    _note("placeholder-answers-published", "goal", "A call without knowledge gives the golden, as published",
        "Required arguments only, and the golden as a bare substring of whatever comes back."),
    _note("echo-published", "goal", "The golden as an argument is quoted back, and credited as published",
        "Who guesses the answer has it confirmed by any tool that repeats its arguments, also in an error."),
    _defect("distractor-answers", "goal", "A distractor gives the golden",
        "A tool without a goal answers the sub-question on gold, placeholder or question-word arguments."),
    _defect("answer-in-error", "goal", "An error text contains the golden",
        "A wrong call is told the answer."),
    _defect("gold-fails", "environment", "The gold calls do not solve the task",
        "A gold call fails, does not give its goal's answer twice in the same way, or the gold trajectory does not "
        "score 1."),
    _defect("wrong-arguments-accepted", "goal", "Wrong or missing arguments give the golden",
        "The gold call with its free values replaced by nonsense, or without a required one, is still right."),
    # --- played
    _defect("cheat-above-gold", "environment", "A scripted cheat scores as high as gold",
        "Silence, guessing, spamming, repeating or echoing earns what solving earns."),
    _defect("cheat-above-ceiling", "policy", "A scripted cheat is above its ceiling over the set",
        "Mean strict Solve-F1: 0 for silent and answer-only, at most 0.05 for spam, random, echo and repeat."),
    _note("published-precision", "environment", "No call at all, and the published Solve-P is 1",
        "A fault of the metric, not of the environment: silence looks perfectly precise."),
)
# fmt: on

GATES: dict[str, Gate] = {gate.name: gate for gate in _GATES}
