"""The catalogue: every gate with its severity, what it judges, and what a hit means.

Defects are what an environment must not have; notes are true as well, and tell what published numbers are worth.
"""

from __future__ import annotations

from toolfoundry.check.report import Gate, Severity

__all__ = ["GATES"]


def _gates() -> tuple[Gate, ...]:
    defect: Severity = "defect"
    note: Severity = "note"

    def gate(name: str, severity: Severity, unit: str, title: str, meaning: str) -> Gate:
        return Gate.model_validate(
            {"name": name, "severity": severity, "unit": unit, "title": title, "meaning": meaning}
        )

    return (
        # --- question and answers
        gate(
            "answer-in-question",
            defect,
            "environment",
            "The final answer stands in the question",
            "A policy can pick it from the question without a call: a choice between two named things is a coin toss.",
        ),
        gate(
            "golden-in-question",
            defect,
            "goal",
            "A sub-answer stands in the question",
            "The question gives away what a tool was to find out.",
        ),
        gate(
            "weak-golden",
            note,
            "goal",
            "A golden has fewer than four characters",
            "As a bare substring it is found in unrelated text: '1' is in '2010', 'a' in every sentence.",
        ),
        gate(
            "duplicate-golden",
            note,
            "goal",
            "Two goals of one tool have the same answer",
            "One result fits both: under the published rule the same call, made twice, solves both.",
        ),
        gate(
            "final-inconsistent",
            defect,
            "environment",
            "The final answer does not follow from the sub-answers",
            "Neither a sub-answer nor a sum, difference, product, ratio, percentage or span of them: who calls every "
            "tool rightly and reasons rightly is marked wrong.",
        ),
        gate(
            "near-duplicate",
            defect,
            "environment",
            "Nearly the same as an earlier environment",
            "The same words in the question, or the same tools with the same answers.",
        ),
        gate(
            "answer-in-document",
            defect,
            "goal",
            "A golden stands in a tool's document",
            "A description, default, enum or example shows the answer before any call.",
        ),
        gate(
            "carried-enum",
            defect,
            "goal",
            "A parent's answer is carried by an enum, a boolean or a default",
            "The later hop can be asked without the earlier answer.",
        ),
        # --- schema and source
        gate(
            "schema-invalid",
            defect,
            "tool",
            "The parameters are not a valid JSON Schema of an object",
            "Endpoints refuse such a tool, or each reads it in its own way.",
        ),
        gate(
            "default-invalid",
            defect,
            "tool",
            "A default that its own schema rejects",
            "The document tells the model a value that the document forbids.",
        ),
        gate(
            "source-invalid",
            defect,
            "tool",
            "The source cannot be parsed",
            "The tool can never run.",
        ),
        gate(
            "function-missing",
            defect,
            "tool",
            "The source does not define the function",
            "Every call fails.",
        ),
        gate(
            "mismatch-required",
            defect,
            "tool",
            "The function needs a parameter that the schema calls optional",
            "A call that is valid by the document raises a TypeError.",
        ),
        gate(
            "mismatch-optional",
            defect,
            "tool",
            "The schema requires a parameter that the function does not need",
            "The document asks the model for more than the tool wants.",
        ),
        gate(
            "mismatch-unknown",
            defect,
            "tool",
            "The schema has a parameter that the function does not take",
            "A call that uses it raises a TypeError.",
        ),
        gate(
            "mismatch-missing",
            defect,
            "tool",
            "The function takes a parameter that the schema does not show",
            "The model cannot know of it.",
        ),
        gate(
            "dead-parameter",
            defect,
            "tool",
            "A parameter is never read",
            "The document promises an effect that the function does not have; read from the source.",
        ),
        gate(
            "parameter-without-effect",
            defect,
            "tool",
            "A parameter is read, but no effect of it was found",
            "No two schema-valid calls that differ only in it gave different results; found by execution.",
        ),
        gate(
            "effect-not-found",
            note,
            "tool",
            "A parameter of a tool without a gold call, and no effect of it was found",
            "Like parameter-without-effect, but the search had to find calls that work, and may have missed some.",
        ),
        gate(
            "undefined-name",
            defect,
            "tool",
            "The function reads a name that nothing defines",
            "The calls that get that far end in a NameError, wherever they are executed.",
        ),
        gate(
            "hidden-names",
            defect,
            "tool",
            "Names that the published way of executing hides from the tool",
            "`exec` inside a function makes module-level imports, constants and helpers invisible: NameError.",
        ),
        gate(
            "top-level-effects",
            defect,
            "tool",
            "Statements at module level that do something",
            "Prints and example calls run before every call.",
        ),
        gate(
            "clock-or-randomness",
            defect,
            "tool",
            "Reads the clock or draws random numbers",
            "The same call can give another result tomorrow.",
        ),
        gate(
            "forbidden-import",
            defect,
            "tool",
            "Imports a module that tools cannot have",
            "The sandbox refuses it.",
        ),
        gate(
            "dangerous-call",
            defect,
            "tool",
            "Evaluates code, opens files or starts processes",
            "Harmless in the sandbox; wherever tools are executed in the trainer's process it is a way in.",
        ),
        gate(
            "baked-answer",
            note,
            "goal",
            "The golden is a literal of its tool's source",
            "The tool is a look-up table: nothing is computed.",
        ),
        gate(
            "shared-name",
            note,
            "name",
            "One tool name, different code in different environments",
            "A model cannot learn what a tool of that name does.",
        ),
        # --- executed
        gate(
            "call-fails",
            defect,
            "tool",
            "A schema-valid call breaks the tool",
            "It ends in an exception that the source does not raise itself, in a timeout or in a crash.",
        ),
        gate(
            "nondeterministic",
            defect,
            "tool",
            "The same call gives different results",
            "In a fresh worker, a week later by its clock and with other entropy.",
        ),
        gate(
            "placeholder-answers",
            defect,
            "goal",
            "A call without knowledge gives the golden",
            "Placeholder arguments are accepted as right; compared as typed values.",
        ),
        gate(
            "placeholder-answers-published",
            note,
            "goal",
            "A call without knowledge gives the golden, as published",
            "Required arguments only, and the golden as a bare substring of whatever comes back.",
        ),
        gate(
            "echo-published",
            note,
            "goal",
            "The golden as an argument is quoted back, and credited as published",
            "Who guesses the answer has it confirmed by any tool that repeats its arguments, also in an error.",
        ),
        gate(
            "distractor-answers",
            defect,
            "goal",
            "A distractor gives the golden",
            "A tool without a goal answers the sub-question on gold, placeholder or question-word arguments.",
        ),
        gate(
            "answer-in-error",
            defect,
            "goal",
            "An error text contains the golden",
            "A wrong call is told the answer.",
        ),
        gate(
            "gold-fails",
            defect,
            "environment",
            "The gold calls do not solve the task",
            "A gold call fails, does not give its goal's answer twice in the same way, or the gold trajectory does not "
            "score 1.",
        ),
        gate(
            "wrong-arguments-accepted",
            defect,
            "goal",
            "Wrong or missing arguments give the golden",
            "The gold call with its free values replaced by nonsense, or without a required one, is still right.",
        ),
        # --- the panel
        gate(
            "cheat-above-gold",
            defect,
            "environment",
            "A scripted cheat scores as high as gold",
            "Silence, guessing, spamming, repeating or echoing earns what solving earns.",
        ),
        gate(
            "cheat-above-ceiling",
            defect,
            "policy",
            "A scripted cheat is above its ceiling over the set",
            "Mean strict Solve-F1: 0 for silent and answer-only, at most 0.05 for spam, random, echo and repeat.",
        ),
        gate(
            "published-precision",
            note,
            "environment",
            "No call at all, and the published Solve-P is 1",
            "A fault of the metric, not of the environment: silence looks perfectly precise.",
        ),
    )


GATES: dict[str, Gate] = {gate.name: gate for gate in _gates()}
