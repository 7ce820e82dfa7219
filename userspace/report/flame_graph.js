// The flame graph's behaviour: click to zoom, search, sizes under the pointer. Every frame is a <g class="f">
// with data-x and data-w (its place and width as parts of the whole) and data-d (its depth); without this script
// the picture is complete, only still.
(() => {
    'use strict';
    const svg = document.querySelector('svg.flame');
    const columnWidth = 7.25;  // of the 12 px monospaced font, as flame_graph.cpp cuts names by
    const margin = 10;
    const detail = svg.querySelector('.detail');
    const matched = svg.querySelector('.matched');
    const reset = svg.querySelector('.reset');
    const input = svg.querySelector('input');
    const frames = [...svg.querySelectorAll('g.f')].map(g => {
        const title = g.querySelector('title').textContent;
        return {
            g, title,
            rect: g.querySelector('rect'),
            text: g.querySelector('text'),
            name: title.split('\n')[0],
            x: Number(g.dataset.x),
            w: Number(g.dataset.w),
            depth: Number(g.dataset.d),
        };
    });
    const byElement = new Map(frames.map(f => [f.g, f]));
    const frameAt = target => target instanceof Element ? byElement.get(target.closest('g.f')) : undefined;
    let zoomed = frames[0];

    function layout() {
        const page = svg.parentNode === document ? document.documentElement : svg.parentNode;
        const width = Math.max(300, page.clientWidth || 1200);
        const height = svg.viewBox.baseVal.height || Number(svg.getAttribute('height'));
        svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
        svg.setAttribute('width', width);
        svg.querySelectorAll('.right').forEach(e => e.setAttribute('x', width - Number(e.dataset.right)));
        svg.querySelectorAll('.wide').forEach(e => e.setAttribute('width', width));
        const scale = (width - 2 * margin) / zoomed.w;
        const end = zoomed.x + zoomed.w;
        for (const f of frames) {
            const caller = f.depth < zoomed.depth && f.x <= zoomed.x && f.x + f.w >= end - 1e-9;
            const inside = f.depth >= zoomed.depth && f.x >= zoomed.x - 1e-9 && f.x + f.w <= end + 1e-9;
            const x = caller ? margin : margin + (f.x - zoomed.x) * scale;
            const w = caller ? width - 2 * margin : f.w * scale;
            f.g.style.display = caller || (inside && w >= 0.3) ? '' : 'none';
            if (f.g.style.display === 'none') {
                continue;
            }
            f.g.classList.toggle('caller', caller);
            f.rect.setAttribute('x', x);
            f.rect.setAttribute('width', Math.max(w - 0.5, 0.3));
            const columns = Math.floor((w - 6) / columnWidth);
            f.text.setAttribute('x', x + 3);
            f.text.textContent = columns < 3 ? ''
                : f.name.length <= columns ? f.name : f.name.slice(0, columns - 2) + '..';
        }
        reset.style.display = zoomed === frames[0] ? 'none' : '';
    }

    function zoom(frame) {
        zoomed = frame;
        layout();
    }

    function search() {
        let pattern = null;
        input.classList.remove('wrong');
        if (input.value !== '') {
            try {
                pattern = new RegExp(input.value, 'i');
            } catch (e) {
                input.classList.add('wrong');
            }
        }
        let sum = 0;
        let end = -1;  // of the outermost match that the frames after it lie in: callers come before callees
        for (const f of frames) {
            const hit = pattern !== null && pattern.test(f.name);
            f.g.classList.toggle('hit', hit);
            if (hit && f.x >= end - 1e-9) {
                sum += f.w;
                end = f.x + f.w;
            }
        }
        matched.textContent = pattern === null ? '' : `matched: ${(100 * sum).toFixed(1)} %`;
    }

    svg.addEventListener('click', event => {
        const frame = frameAt(event.target);
        if (frame !== undefined) {
            zoom(frame);
        } else if (event.target.closest('.reset') !== null) {
            zoom(frames[0]);
        }
    });
    svg.addEventListener('mouseover', event => {
        const frame = frameAt(event.target);
        detail.textContent = frame === undefined ? '' : frame.title.replaceAll('\n', '   ');
    });
    input.addEventListener('input', search);
    window.addEventListener('keydown', event => {
        if (event.key === 'Escape') {
            input.value = '';
            search();
            zoom(frames[0]);
        } else if (event.key === '/' && event.target !== input) {
            event.preventDefault();
            input.focus();
        }
    });
    window.addEventListener('resize', layout);
    layout();
})();
