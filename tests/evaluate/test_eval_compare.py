"""Two runs compared: pairing, honest intervals, flips, and tables that say what was left out."""

import json
import math

import pytest

from fakes import assistant, capital_spec
from toolfoundry.errors import InputError
from toolfoundry.evaluate.attempts import Attempt
from toolfoundry.evaluate.compare import Key, Observation, Run, compare_runs, load_run
from toolfoundry.evaluate.compare_tables import to_html, to_markdown
from toolfoundry.intervals import exact_sign_test, holm, t_quantile, within
from toolfoundry.seeds import generator
from toolfoundry.store import RecordWriter
from toolfoundry.types import Completion, Task, Trajectory, Turn


def attempt(item, value, *, benchmark="b", group="g", cluster=None, sample=0, policy="p", metric="m", **more):
    """An attempt with one score by both rules; a value of None is an infrastructure failure."""
    failed = value is None
    scores = {} if failed else {rule: {metric: value, **more} for rule in ("paper", "fixed")}
    return Attempt(
        benchmark=benchmark,
        group=group,
        cluster=cluster or item,
        trajectory=Trajectory(
            task=Task(spec_id=item, kind=None, goals=(), answer=None, tagged=True),
            policy=policy,
            sample=sample,
            prompt=(),
            turns=(),
            stop="error" if failed else "answered",
            error="EndpointError: gone" if failed else None,
        ),
        scores=scores,
    )


def written(path, attempts):
    with RecordWriter(path, Attempt) as writer:
        for one in attempts:
            writer.write(one)
    return path


def compared(a, b):
    """The comparison of two lists of attempts."""
    return compare_runs(observed(a), observed(b))


def observed(attempts):
    found = {
        Key(one.benchmark, one.trajectory.task.spec_id, one.trajectory.sample): Observation(
            one.group, one.cluster, one.scores.get("fixed")
        )
        for one in attempts
    }
    return Run("x", "p", found)


def test_a_paired_difference_has_the_interval_of_the_paired_t_test():
    """Differences 1, 0, 0, .5 : mean .375, stderr of the mean .2394, t(3) = 3.182."""
    found = compared(
        [attempt(i, v) for i, v in zip("wxyz", (0, 1, 0.5, 0.25), strict=True)],
        [attempt(i, v) for i, v in zip("wxyz", (1, 1, 0.5, 0.75), strict=True)],
    )
    [row] = found.rows
    stderr = math.sqrt(sum((d - 0.375) ** 2 for d in (1, 0, 0, 0.5)) / 3 / 4)
    assert (row.pairs, row.clusters, row.a, row.b) == (4, 4, 0.4375, 0.8125)
    assert row.difference == pytest.approx(0.375)
    assert row.stderr == pytest.approx(stderr)
    assert row.low == pytest.approx(0.375 - 3.18245 * stderr, abs=1e-5)
    assert row.high == pytest.approx(0.375 + 3.18245 * stderr, abs=1e-5)
    assert row.verdict == "same"
    assert row.p == pytest.approx(0.2152, abs=1e-4)


def test_values_of_one_cluster_count_as_one():
    """Tries at one item that all come out alike add nothing; as items of their own they would."""
    a = [attempt(str(i), 0.0) for i in range(5)]
    b = [attempt(str(i), v) for i, v in enumerate((0.0, 1.0, 1.0, 0.0, 1.0))]
    [once] = compared(a, b).rows
    [thrice] = compared(repeated(a), repeated(b)).rows
    assert (thrice.difference, thrice.clusters, thrice.pairs) == (pytest.approx(once.difference), 5, 15)
    assert thrice.stderr == pytest.approx(once.stderr) == pytest.approx(math.sqrt(0.3 / 5))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))


def repeated(attempts):
    """Each attempt three times, as samples 0 to 2."""
    return [
        one.model_copy(update={"trajectory": one.trajectory.model_copy(update={"sample": k})})
        for one in attempts
        for k in range(3)
    ]


def test_intervals_hold_as_often_as_they_say():
    """Over 600 sets of eight clusters of uneven size without a true difference, about 95% of the intervals hold 0."""
    rng = generator("coverage")
    held = 0
    for _ in range(600):
        b = []
        for cluster in "abcdefgh":
            shift = rng.gauss(0, 1)
            b += [attempt(f"{cluster}{i}", shift + rng.gauss(0, 1), cluster=cluster) for i in range(rng.randint(2, 4))]
        [row] = compared([attempt(one.trajectory.task.spec_id, 0.0, cluster=one.cluster) for one in b], b).rows
        held += row.low <= 0 <= row.high
    assert 0.92 <= held / 600 <= 0.98


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (30, 2.0423), (120, 1.9799)]
)
def test_quantiles_are_those_of_printed_tables(freedom, quantile):
    """Student's t at 97.5%, and its inverse."""
    assert t_quantile(0.975, freedom) == pytest.approx(quantile, abs=5e-5)
    assert within(quantile, freedom) == pytest.approx(0.95, abs=1e-5)
    assert t_quantile(0.975, 500) == pytest.approx(t_quantile(0.975, 501), abs=1e-5)  # sum and expansion meet


def test_arrows_only_where_the_interval_excludes_zero():
    """Three metrics: one that rises in nearly all items, one that falls, one that wavers."""
    rng = generator("arrows")
    a = [attempt(str(i), 0.0, fallen=1.0, wavers=0.5) for i in range(40)]
    b = [
        attempt(str(i), rng.choice((0.9, 1.0)), fallen=rng.choice((0.0, 0.1)), wavers=rng.choice((0.4, 0.6)))
        for i in range(40)
    ]
    found = compared(a, b)
    assert {row.metric: row.verdict for row in found.rows} == {"m": "up", "fallen": "down", "wavers": "same"}
    assert all((row.verdict == "same") == (row.low <= 0 <= row.high) for row in found.rows)
    back = compared(b, a)
    for row, mirrored in zip(found.rows, back.rows, strict=True):
        assert mirrored.difference == pytest.approx(-row.difference)
        assert (mirrored.low, mirrored.high) == pytest.approx((-row.high, -row.low))
        assert mirrored.p == pytest.approx(row.p)


def test_equal_differences_are_judged_by_an_exact_test():
    """Where every item gains the same there is no spread: no interval, and a verdict only where chance is ruled out."""
    for n, verdict in ((3, "same"), (12, "up")):
        a, b = [[attempt(str(i), v) for i in range(n)] for v in (0.0, 1.0)]
        [row] = compared(a, b).rows
        assert (row.stderr, row.low, row.high) == (None, None, None)
        assert row.p == pytest.approx(2 / 2**n)
        assert row.verdict == verdict
    a = [attempt(str(i), 0.5) for i in range(5)]
    [row] = compared(a, a).rows
    assert (row.difference, row.p, row.verdict) == (0, 1, "same")


def test_nothing_can_be_said_of_one_cluster():
    """Three samples of one question: a difference, but neither interval nor arrow."""
    [row] = compared(
        [attempt("x", v, sample=k) for k, v in enumerate((0, 0, 1))],
        [attempt("x", 1, sample=k) for k in range(3)],
    ).rows
    assert (row.pairs, row.clusters, row.stderr, row.p, row.verdict) == (3, 1, None, None, None)


def test_what_has_no_partner_is_counted():
    """Unpaired attempts, and pairs with an unscored half, are left out of the means and counted."""
    found = compared(
        [attempt("x", 1), attempt("y", 0), attempt("z", None), attempt("only", 1), attempt("x", 1, sample=1)],
        [attempt("x", 0), attempt("y", 1), attempt("z", 1), attempt("w", 1), attempt("v", None)],
    )
    [pairing] = found.pairings
    assert (pairing.pairs, pairing.left_out, pairing.only_a, pairing.only_b) == (2, 1, 2, 2)
    assert (found.a.unpaired, found.a.unscored, found.b.unpaired, found.b.unscored) == (2, 1, 2, 1)
    [row] = found.rows
    assert (row.pairs, row.a, row.b) == (2, 0.5, 0.5)
    text = to_markdown(found)
    assert "2 pairs, 1 more unscored in one run or both, 2 only in A, 2 only in B" in text


def test_groups_have_rows_and_benchmarks_are_averaged_as_the_paper_does():
    """RoTBench is a mean over groups; another benchmark over items."""
    for benchmark, mean in (("rotbench", 0.5), ("own", 0.25)):
        a = [attempt(str(i), 0.0, group="big" if i < 3 else "small", benchmark=benchmark) for i in range(4)]
        b = [attempt(str(i), float(i == 3), group="big" if i < 3 else "small", benchmark=benchmark) for i in range(4)]
        rows = {row.group: row for row in compared(a, b).rows}
        assert rows["all"].difference == mean
        assert (rows["big"].difference, rows["small"].difference) == (0, 1)


def test_flips_and_mcnemar():
    """Nine won, one lost: exact p = 22/1024. A metric that is not 0 or 1 has no flips."""
    a = [attempt(f"i{i}", float(i == 0), part=0.5) for i in range(12)]
    b = [attempt(f"i{i}", float(1 <= i <= 9), part=0.5) for i in range(12)]
    [flips] = compared(a, b).flips
    assert (flips.metric, flips.lost, flips.both_right, flips.both_wrong) == ("m", ("i0/0",), 0, 2)
    assert flips.won == tuple(f"i{i}/0" for i in range(1, 10))
    assert flips.p == pytest.approx(22 / 1024)


def test_mcnemar_counts_clusters_not_repetitions():
    """Four samples of one question that all flip are one piece of evidence."""
    a = [attempt(i, 0.0, sample=k) for i in "xyz" for k in range(4)]
    b = [attempt(i, 1.0, sample=k) for i in "xyz" for k in range(4)]
    [flips] = compared(a, b).flips
    assert len(flips.won) == 12
    assert flips.p == 0.25


def test_holm_is_never_smaller_than_the_p_value_and_keeps_its_order():
    """By hand: .01 x 3, .03 x 2, and .04, which may not be less than the one before it."""
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    rng = generator("holm")
    values = [rng.random() ** 3 for _ in range(30)]
    adjusted = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, adjusted, strict=True))
    order = sorted(range(30), key=values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)
    assert exact_sign_test([]) == exact_sign_test([0, 0]) == 1


def test_the_rule_decides_which_scores_are_compared(tmp_path):
    """Stored scores by both rules; `paper` and `fixed` may differ in their verdict."""

    def both(item, paper, fixed):
        one = attempt(item, 0.0)
        return one.model_copy(update={"scores": {"paper": {"m": paper}, "fixed": {"m": fixed}}})

    a = written(tmp_path / "a.jsonl", [both("x", 0.0, 1.0), both("y", 0.0, 1.0)])
    b = written(tmp_path / "b.jsonl", [both("x", 1.0, 1.0), both("y", 0.5, 1.0)])
    differences = {
        rule: compare_runs(load_run(a, rule), load_run(b, rule), rule).rows[0].difference for rule in ("paper", "fixed")
    }
    assert differences == {"paper": 0.75, "fixed": 0.0}


def trajectory(number, right, policy):
    spec = capital_spec(number)
    content = "<answer>Velden</answer>" if right else "<answer>Rome</answer>"
    turn = Turn(completion=Completion(message=assistant(content)))
    return Trajectory(task=spec.task, policy=policy, prompt=spec.prompt, turns=(turn,), stop="answered")


def test_files_of_rollout_are_compared_as_well(tmp_path, run):
    """Trajectories are scored on the way: final answers 0 of 8 against 8 of 8."""
    for name, right in (("a", False), ("b", True)):
        with RecordWriter(tmp_path / f"{name}.jsonl", Trajectory) as writer:
            for number in range(8):
                writer.write(trajectory(number, right, name))
    code, out, err = run("compare", tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--json")
    assert code == 0, err
    found = json.loads(out)
    answer = next(row for row in found["rows"] if row["metric"] == "answer")
    assert (answer["a"], answer["b"], answer["verdict"]) == (0, 1, "up")
    [flips] = [flips for flips in found["flips"] if flips["metric"] == "answer"]
    assert len(flips["won"]) == 8


def test_a_folder_is_all_its_files_of_attempts(tmp_path, run):
    """Other files in it are passed over."""
    for name, value in (("before", 0.0), ("after", 1.0)):
        folder = tmp_path / name
        for benchmark in ("own", "rotbench"):
            written(folder / f"{benchmark}.jsonl", [attempt(str(i), value, benchmark=benchmark) for i in range(9)])
        (folder / "results.json").write_text("{}")
        (folder / "notes.jsonl").write_text("{}\n")
    code, out, err = run("compare", tmp_path / "before", tmp_path / "after", "-o", tmp_path / "compared.md")
    assert code == 0, err
    assert "rotbench" in out
    text = (tmp_path / "compared.md").read_text()
    assert text.count("| ↑ |") == 2
    assert run("compare", tmp_path / "before", tmp_path / "after", "-o", tmp_path / "compared.md")[0] == 6
    assert run("compare", tmp_path / "before", tmp_path / "after", "-o", tmp_path / "compared.md", "--force")[0] == 0


def test_names_of_others_cannot_write_the_page(tmp_path):
    """Items, groups, benchmarks and policies with markup in them come out as text."""
    evil = "<script>alert(1)</script>|[x](javascript:y)\x1b[31m"
    a = [attempt(f"{evil}{i}", 0.0, group=f"{evil}{i % 2}", benchmark=evil, policy=evil, metric=evil) for i in range(8)]
    b = [attempt(f"{evil}{i}", 1.0, group=f"{evil}{i % 2}", benchmark=evil, policy=evil, metric=evil) for i in range(8)]
    found = compare_runs(
        load_run(written(tmp_path / "a.jsonl", a)),
        load_run(written(tmp_path / "b.jsonl", b)),
    )
    markdown = to_markdown(found)
    assert "<script>" not in markdown.replace("\\<", "")
    assert "\x1b" not in markdown
    assert all(line.count("|") - line.count("\\|") == 10 for line in markdown.splitlines() if line.startswith("| all"))
    pytest.importorskip("jinja2", reason="needs the extra report")
    page = to_html(found)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page


def test_what_cannot_be_compared_is_said(tmp_path, run):
    """No file, another artifact, no shared item, several policies, an item twice: exit code 3 and one line."""
    a = written(tmp_path / "a.jsonl", [attempt("x", 1)])
    other = written(tmp_path / "other.jsonl", [attempt("y", 1)])
    twice = written(tmp_path / "twice.jsonl", [attempt("x", 1), attempt("x", 0)])
    two = written(tmp_path / "two.jsonl", [attempt("x", 1), attempt("y", 1, policy="q")])
    regrouped = written(tmp_path / "regrouped.jsonl", [attempt("x", 1, group="h")])
    (tmp_path / "plain.txt").write_text("hello\n")
    (tmp_path / "empty").mkdir()
    for b, said in (
        (tmp_path / "none.jsonl", "cannot be opened"),
        (tmp_path / "plain.txt", "expected attempts"),
        (tmp_path / "empty", "has no file of attempts"),
        (other, "share no attempt"),
        (twice, "is there twice"),
        (two, "expected one policy"),
        (regrouped, "expected runs on the same benchmark"),
    ):
        code, _, err = run("compare", a, b)
        assert code == 3, b
        assert said in err.replace("\n", " ")
    assert run("compare", a, a, "-o", tmp_path / "x.pdf")[0] == 3
    with pytest.raises(InputError, match="has no attempts"):
        load_run(written(tmp_path / "nothing.jsonl", []))
