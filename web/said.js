// What ComfyUI's page does not say by itself: that a Run had nothing to do, and more than two lines of what a node says.

import { api } from "../../scripts/api.js"
import { app } from "../../scripts/app.js"

const MODULE = `custom_nodes.${decodeURIComponent(new URL(import.meta.url).pathname.split("/").at(-2))}`
const TEXT = "$$node-text-preview"
const LINE = 16
const LETTER = 6
const AROUND = 30
const MOST_LINES = 14
// In units of the canvas: of the text that the page shows on a node.

const SAID = {
  en: [
    "Nothing has changed",
    "All results are those of the Run before. Change a seed or a setting for new ones; to train on, turn on resume.",
  ],
  zh: ["没有任何变化", "结果与上一次运行相同。想要新的结果，请改种子或其他设置；想接着训练，请打开“继续训练”。"],
}

// An execution id such as 12:3 is that of node 3 in subgraph 12.
function nodeOf(id) {
  let graph = app.rootGraph ?? app.graph
  let node = null
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(/^\d+$/.test(part) ? Number(part) : part)
    graph = node?.subgraph
  }
  return node
}

function isOurs(node) {
  return node?.constructor?.nodeData?.python_module === MODULE
}

function height(text, width) {
  const letters = Math.max(10, Math.floor((width - 2 * AROUND) / LETTER))
  const lines = String(text).split("\n").map((line) => Math.max(1, Math.ceil(line.length / letters)))
  return AROUND + LINE * Math.min(MOST_LINES, lines.reduce((sum, count) => sum + count, 0))
}

// A node that trains shows its text in its panel, which has an element and its own height.
function makeRoom(node) {
  const text = node.widgets?.find((widget) => widget.name === TEXT)
  if (text?.options && !text.element) text.options.getMinHeight = () => height(text.value ?? "", node.size[0])
  node.setDirtyCanvas?.(true, true)
}

app.registerExtension({
  name: "gan_studio.said",
  setup() {
    let worked = false
    let ours = false
    api.addEventListener("execution_start", () => {
      worked = ours = false
    })
    api.addEventListener("execution_cached", ({ detail }) => {
      ours = detail.nodes.some((id) => isOurs(nodeOf(id)))
    })
    api.addEventListener("executing", ({ detail }) => {
      worked ||= detail != null
    })
    api.addEventListener("execution_success", () => {
      if (worked || !ours) return
      const language = String(app.extensionManager.setting.get("Comfy.Locale") ?? "en")
      const [summary, detail] = SAID[language.split("-")[0]] ?? SAID.en
      app.extensionManager.toast.add({ severity: "info", summary, detail, life: 8000 })
    })
    api.addEventListener("progress_text", ({ detail }) => {
      const node = nodeOf(detail.nodeId)
      if (isOurs(node)) requestAnimationFrame(() => makeRoom(node))
    })
  },
})
