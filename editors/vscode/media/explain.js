// Goes from token to token by keys and pointer, and shows what belongs to the one that has the focus.
(() => {
  const tokens = [...document.querySelectorAll('.code .token')];
  const details = [...document.querySelectorAll('.detail')];
  let current = 0;

  function select(index, focus) {
    if (index < 0 || index >= tokens.length) {
      return;
    }
    tokens[current].tabIndex = -1;
    tokens[current].setAttribute('aria-selected', 'false');
    details[current].hidden = true;
    current = index;
    tokens[current].tabIndex = 0;
    tokens[current].setAttribute('aria-selected', 'true');
    details[current].hidden = false;
    if (focus) {
      tokens[current].focus();
    }
  }

  // The token above or below: the nearest one of the next line that has any.
  function vertical(step) {
    const from = tokens[current].getBoundingClientRect();
    let best = current;
    let bestDistance = Infinity;
    tokens.forEach((token, index) => {
      const box = token.getClientRects()[0] ?? token.getBoundingClientRect();
      const down = (box.top - from.top) * step;
      if (down > from.height / 2) {
        const distance = down * 1000 + Math.abs(box.left - from.left);
        if (distance < bestDistance) {
          best = index;
          bestDistance = distance;
        }
      }
    });
    return best;
  }

  function hardened(step) {
    for (let index = current + step; index >= 0 && index < tokens.length; index += step) {
      if (tokens[index].classList.contains('intervened')) {
        return index;
      }
    }
    return current;
  }

  const moves = {
    ArrowRight: () => current + 1,
    ArrowLeft: () => current - 1,
    ArrowDown: () => vertical(1),
    ArrowUp: () => vertical(-1),
    Home: () => 0,
    End: () => tokens.length - 1,
    n: () => hardened(1),
    p: () => hardened(-1),
  };

  tokens.forEach((token, index) => {
    token.addEventListener('focus', () => select(index, false));
    token.addEventListener('click', () => select(index, true));
  });
  document.addEventListener('keydown', (event) => {
    const move = moves[event.key];
    if (move && tokens.length > 0 && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      select(move(), true);
    }
  });
  const first = tokens.findIndex((token) => token.classList.contains('intervened'));
  if (tokens.length > 0) {
    select(Math.max(0, first), true);
  }
})();
