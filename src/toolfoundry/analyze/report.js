"use strict";
const talks = Array.from(document.querySelectorAll("details.talk"));
const controls = document.getElementById("controls");
const field = (name) => controls.querySelector("[name=" + name + "]");
const inScore = {
  right: (score) => score >= 0.9995,
  part: (score) => score > 0.0005 && score < 0.9995,
  wrong: (score) => score <= 0.0005,
  unscored: (score) => Number.isNaN(score),
};

function apply() {
  const run = field("run").value, group = field("group").value, kind = field("kind").value;
  const score = field("score").value, text = field("text").value.trim().toLowerCase();
  let shown = 0;
  for (const talk of talks) {
    const fits =
      (run === "" || talk.dataset.run === run) &&
      (group === "" || talk.dataset.group === group) &&
      (kind === "" || talk.dataset.kinds.split(" ").includes(kind)) &&
      (score === "" || inScore[score](parseFloat(talk.dataset.score))) &&
      (text === "" || talk.textContent.toLowerCase().includes(text));
    talk.hidden = !fits;
    shown += fits;
  }
  document.getElementById("count").textContent = shown + " of " + talks.length;
}

function follow() {
  const talk = document.getElementById(location.hash.slice(1));
  if (talk && talk.matches("details.talk")) {
    if (talk.hidden) {
      controls.querySelectorAll("select, input").forEach((one) => { one.value = ""; });
      apply();
    }
    talk.open = true;
    talk.scrollIntoView();
  }
}

if (controls) {
  controls.hidden = false;
  controls.addEventListener("input", apply);
  apply();
}
window.addEventListener("hashchange", follow);
follow();
