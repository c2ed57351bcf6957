// All words of the panel, in English and Chinese. What a run says itself (remarks, errors) is English.

const TEXTS = {
  en: {
    waiting:
      "Press Run: samples, curves and buttons appear here while it learns. It can be finished, saved or paused at any time.",
    starting: "Starting: looking at the images and building the networks.",
    states: {
      starting: "Starting",
      running: "Training",
      paused: "Paused",
      finished: "Finished",
      "finished early": "Finished early",
      stopped: "Stopped",
      diverged: "Diverged",
      error: "Error",
    },
    stopped: "Stopped. To go on, set run_name to {run}, turn on resume, and press Run.",
    kept: "Kept in {kept}",
    speed: "Images/s",
    left: "{time} left",
    shown: "Images shown",
    memory: "Memory",
    kimg: "{kimg} kimg",
    gigabytes: "{used} of {total} GB",
    unknown: "–",
    health: {
      early: "Too early to judge",
      healthy: "Healthy",
      collapse: "Mode collapse",
      divergence: "Divergence",
      overfitting: "Overfitting",
    },
    finish: "Finish now",
    finishHint: "End the training here and let the graph go on with what it has learned.",
    finishing: "Finishing after this step …",
    save: "Save now",
    saveHint: "Write a checkpoint now.",
    saved: "A checkpoint is written after this step.",
    pause: "Pause",
    pauseHint: "Hold the training. Paused minutes do not count.",
    resume: "Go on",
    resumeHint: "Go on with the training.",
    film: "Save film",
    filmHint: "Add nodes that save these sheets as an animation.",
    play: "Play",
    stop: "Stop",
    slider: "Samples at an earlier moment",
    sheet: "Samples after {kimg} kimg",
    chart: "Curves of {axis} over thousands of images shown",
    axis: "kimg",
    remarks: "Remarks ({count})",
    axes: {
      "discriminator's mean logit": "logits",
      "samples beside real images": "samples",
      "nats per image": "nats",
      "KL divergence in nats": "KL",
      "units of z": "units",
    },
    labels: {},
    meanings: {},
  },
  zh: {
    waiting: "点击运行：学习过程中，样本、曲线和按钮会显示在这里。可以随时结束、保存或暂停。",
    starting: "正在开始：检查图像并构建网络。",
    states: {
      starting: "正在开始",
      running: "训练中",
      paused: "已暂停",
      finished: "已完成",
      "finished early": "提前完成",
      stopped: "已停止",
      diverged: "已发散",
      error: "错误",
    },
    stopped: "已停止。要接着训练，请把“任务名称”设为 {run}，打开“继续训练”，然后点击运行。",
    kept: "保存在 {kept}",
    speed: "图像/秒",
    left: "还剩 {time}",
    shown: "已学图像",
    memory: "内存",
    kimg: "{kimg} 千张",
    gigabytes: "{used} / {total} GB",
    unknown: "–",
    health: {
      early: "尚早，无法判断",
      healthy: "健康",
      collapse: "模式崩溃",
      divergence: "发散",
      overfitting: "过拟合",
    },
    finish: "立即完成",
    finishHint: "在此结束训练，用已学到的结果继续执行工作流。",
    finishing: "这一步之后完成……",
    save: "立即保存",
    saveHint: "现在写入一个检查点。",
    saved: "这一步之后会写入检查点。",
    pause: "暂停",
    pauseHint: "暂停训练。暂停的时间不计入分钟数。",
    resume: "继续",
    resumeHint: "继续训练。",
    film: "保存动画",
    filmHint: "添加节点，把这些样本图保存为动画。",
    play: "播放",
    stop: "停止",
    slider: "更早时刻的样本",
    sheet: "{kimg} 千张图像之后的样本",
    chart: "{axis}随已学图像数（千张）变化的曲线",
    axis: "千张",
    remarks: "备注（{count}）",
    axes: {
      loss: "损失",
      "discriminator's mean logit": "logit",
      overfitting: "过拟合",
      "samples beside real images": "样本",
      KID: "KID",
      "nats per image": "nat",
      "KL divergence in nats": "KL",
      "units of z": "维度",
    },
    labels: {
      discriminator_loss: "判别器",
      generator_loss: "生成器",
      real_score: "真实图像",
      fake_score: "生成图像",
      real_sign: "r_t",
      overfitting: "r_v",
      augment_p: "ada 的 p",
      diversity: "多样性",
      distance: "距离",
      kid: "KID",
      reconstruction: "重建",
      held_out: "留出图像，总损失",
      kl: "KL",
      active_units: "活跃",
    },
    meanings: {
      discriminator_loss: "判别器区分真实图像与生成图像的误差。两种损失都不衡量质量：平稳为好，降到 0 不好。",
      generator_loss: "生成器骗过判别器的误差。图像变好时它也可能上升。",
      real_score: "判别器对真实图像给出的平均 logit。",
      fake_score: "判别器对生成图像给出的平均 logit。与真实图像的差距越来越大，说明判别器占了上风。",
      real_sign: "判为真实的真实图像比例减去判为生成的比例；高于 0.8 可能是过拟合。",
      overfitting: "0：留出图像与训练图像得到同样的判断；1：与生成图像一样，即过拟合。",
      augment_p: "每种增强的概率：判别器过拟合时，ada 会提高它。",
      diversity: "样本的变化程度，1 表示与真实图像相同。偏低：模式崩溃。",
      distance: "样本与真实图像在颜色上的距离。0 表示相同，噪声约为 1。",
      kid: "核初始距离（KID），使用本插件的特征：越低越好，0 表示相同。",
      reconstruction: "训练图像与其重建之间的差异：越低越清晰。",
      held_out: "未参与训练的图像上的总损失。VAE 过拟合时它会重新上升。",
      kl: "潜变量携带的图像信息量，单位 nat。接近 0：潜变量不携带信息。",
      active_units: "z 中携带图像信息的维度数。",
    },
  },
}

// The words of a language as ComfyUI names it, such as "zh-TW"; English for all but Chinese.
export function wordsOf(locale) {
  return TEXTS[String(locale ?? "en").split("-")[0]] ?? TEXTS.en
}

// A text with {names} replaced by values.
export function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole))
}

export function kimgOf(images) {
  const kimg = images / 1000
  return kimg < 10 ? kimg.toFixed(2) : kimg < 1000 ? kimg.toFixed(1) : Math.round(kimg).toLocaleString("en")
}

// Seconds as 45 s, 3:07 or 2:15:00.
export function clock(seconds) {
  const whole = Math.round(seconds)
  if (whole < 60) return `${whole} s`
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
  const two = (number) => String(number).padStart(2, "0")
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

// A number with three digits that count.
export function short(number) {
  if (number === 0) return "0"
  const size = Math.abs(number)
  if (size >= 1e5 || size < 1e-3) return number.toExponential(1)
  return size >= 100 ? number.toFixed(0) : String(Number(number.toPrecision(3)))
}
