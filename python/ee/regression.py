# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ridge and logistic regression in closed form or by Newton's method, on columns in units of their deviation: what exit
maps and probes are fitted with."""

import numpy as np

PROBE = 2e-4  # `strength` of logistic regressions on a model's states


def standardise(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each column in float64; columns that do not vary get deviation 1."""
    mean, std = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    return mean, np.where(std > 0, std, 1)


def ridge(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """W [in,out], b [out] minimising |xW + b - y|^2 + strength * N * |W in units of standardised columns|^2."""
    mean, std = standardise(x)
    z = ((x - mean) / std).astype(np.float32)
    gram = (z.T @ z).astype(np.float64)
    gram[np.diag_indices_from(gram)] += strength * len(x)
    w = np.linalg.solve(gram, (z.T @ (y - y.mean(0))).astype(np.float64)) / std[:, None]
    return w, y.mean(0, dtype=np.float64) - mean @ w


def logistic(x: np.ndarray, label: np.ndarray, strength: float, steps: int = 12) -> tuple[np.ndarray, float]:
    """w [in], b of a ridge logistic regression by Newton's method; `strength` as in `ridge`."""
    mean, std = standardise(x)
    z = np.concatenate([(x - mean) / std, np.ones((len(x), 1))], 1).astype(np.float32)
    penalty = np.full(z.shape[1], strength * len(x))
    penalty[-1] = 1e-9  # the intercept is free
    w = np.zeros(z.shape[1])
    for _ in range(steps):
        p = 1 / (1 + np.exp(-np.clip(z @ w.astype(np.float32), -30, 30)))
        gradient = z.T @ (p - label).astype(np.float32) + penalty * w
        hessian = (z.T @ (z * (p * (1 - p))[:, None].astype(np.float32))).astype(np.float64) + np.diag(penalty)
        step = np.linalg.solve(hessian, gradient)
        w -= step
        if np.abs(step).max() < 1e-5:
            break
    return w[:-1] / std, float(w[-1] - (w[:-1] / std) @ mean)
