// Sets the chosen theme before the first paint (a classic script: modules run later, and the page would flash).
(() => {
  try {
    const chosen = localStorage.getItem("tapkit.theme");
    if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
  } catch { /* storage refused: the theme of the system holds */ }
})();
