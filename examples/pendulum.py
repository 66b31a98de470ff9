"""Find out how a pendulum is built from noisy measurements of its swing.

The angle follows a differential equation whose solution has no formula. `fg.ode.odeint` follows it
numerically, and can be differentiated; so the length, the friction and how the swing began are
found by least squares, with the method of Levenberg and Marquardt.

    python examples/pendulum.py            # fits, prints what it found, draws pendulum.png
    python examples/pendulum.py --short    # the same, with fewer measurements

Marquardt (1963), An algorithm for least-squares estimation of nonlinear parameters, SIAM Journal on
Applied Mathematics 11(2).
"""

import argparse
import sys

import numpy as np

import fungrad as fg

try:
    from matplotlib.figure import Figure
except ImportError as error:
    sys.exit(f"{error.name} is missing; install what the examples need:  pip install '.[examples]'")

GRAVITY, NOISE, SEED = 9.81, 0.1, 0
NAMES = "length [m]", "friction [1/s]", "angle [rad]", "speed [rad/s]"
TRUTH = np.array([1.7, 0.15, 1.9, 0.5])
GUESS = np.array([1.0, 0.5, 1.0, 0.0])


def swing(state, t, length, friction):
    """Return how fast the state (angle, angular speed) of a pendulum changes."""
    angle, speed = state
    return speed, -GRAVITY / length * np.sin(angle) - friction * speed


def angles(params, times):
    """Return the angle of the pendulum at the given times: (n,)."""
    length, friction, angle, speed = params
    state = fg.ode.odeint(swing, (angle, speed), times, length, friction, rtol=1e-6, atol=1e-6)
    return state[0]


@fg.jit
def linearized(params, times, measured):
    """Return how far the pendulum is from the measurements, and the Jacobian of that."""
    distance = lambda params: angles(params, times) - measured
    return distance(params), fg.jacobian(distance)(params)


def fit(params, times, measured, limit=50):
    """Return the path of Levenberg and Marquardt to the parameters of the least squares.

    Short times come first: a swing that is a little too fast is soon out of step, so that all the
    measurements together have many wrong minima.
    """
    path, damping = [params], 1e-2
    for part in (len(times) // 4, len(times) // 2, len(times)):
        residual, jacobian = linearized(path[-1], times[:part], measured[:part])
        for _ in range(limit):
            curvature, slope = jacobian.T @ jacobian, jacobian.T @ residual
            step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
            after = path[-1] - step
            new = linearized(after, times[:part], measured[:part])
            if np.sum(new[0] ** 2) > np.sum(residual**2):
                damping *= 10
                continue
            path.append(after)
            gain = np.sum(residual**2) - np.sum(new[0] ** 2)
            residual, jacobian = new
            damping /= 10
            if gain < 1e-9 * np.sum(residual**2):
                break
    return path


def draw(path_of_picture, path, times, measured):
    """Save a picture of the measurements, the first guess and what was found."""
    figure = Figure(figsize=(9, 4), dpi=130, layout="constrained")
    axes = figure.subplots()
    fine = np.linspace(0, times[-1], 500)
    axes.plot(times, measured, ".", color="0.6", label="measured")
    axes.plot(fine, angles(path[0], fine), "C1--", lw=1, label="first guess")
    axes.plot(fine, angles(path[-1], fine), "C0", lw=2, label="found")
    axes.plot(fine, angles(TRUTH, fine), "k:", lw=1, label="true")
    axes.set(title="The swing of a pendulum", xlabel="time [s]", ylabel="angle [rad]")
    axes.legend(ncols=4)
    axes.grid(alpha=0.3)
    figure.savefig(path_of_picture)


def main(count, path_of_picture):
    """Measure, fit, draw, and print what was found beside the truth."""
    rng = np.random.default_rng(SEED)
    times = np.linspace(0, 12, count)
    measured = angles(TRUTH, times) + NOISE * rng.standard_normal(count)
    path = fit(GUESS, times, measured)
    draw(path_of_picture, path, times, measured)
    print(f"saved {path_of_picture} after {len(path) - 1} steps")
    for name, guess, found, true in zip(NAMES, GUESS, path[-1], TRUTH, strict=True):
        print(f"{name:>15}: guess {guess:.3f}   found {found:.3f}   true {true:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fit a pendulum to noisy measurements.")
    parser.add_argument("--short", action="store_true", help="measure 60 times instead of 300")
    parser.add_argument("--out", default="pendulum.png", help="the picture (default: %(default)s)")
    args = parser.parse_args()
    main(60 if args.short else 300, args.out)
