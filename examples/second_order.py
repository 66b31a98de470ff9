"""Second derivatives: Newton's method on Rosenbrock's valley.

Gradient descent follows the slope and crawls along the curved floor of the valley. Newton's method
also uses the curvature, the Hessian, which is the Jacobian of the gradient, and arrives in a
handful of steps.

    python examples/second_order.py

Rosenbrock (1960), An automatic method for finding the greatest or least value of a function, The
Computer Journal 3(3). Nocedal and Wright (2006), Numerical Optimization, section 3.3.
"""

import argparse

import numpy as np

import fungrad as fg


def rosenbrock(p):
    """Return the height of the valley at p = (x, y); the lowest point is (1, 1)."""
    x, y = p
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


gradient = fg.jit(fg.grad(rosenbrock))
hessian = fg.jit(fg.jacobian(fg.grad(rosenbrock)))


def newton(p):
    """Return where the parabola with the height, slope and curvature of the valley at p is flat."""
    return p - np.linalg.solve(hessian(p), gradient(p))


def downhill(p):
    """Return the next point of gradient descent; longer steps would bounce between the walls."""
    return p - 0.001 * gradient(p)


def follow(advance, p, limit, tolerance=1e-8):
    """Return the points from p to where the gradient is nearly zero, at most `limit` steps."""
    path = [p]
    while np.linalg.norm(gradient(path[-1])) > tolerance and len(path) <= limit:
        path.append(advance(path[-1]))
    return path


def main(limit):
    """Check a second derivative that everybody knows, then race the two methods."""
    print(f"sin''(1) = {fg.grad(fg.grad(np.sin))(1.0):.12f}   -sin(1) = {-np.sin(1.0):.12f}")

    start = np.array([-1.2, 1.0])
    path = follow(newton, start, limit)
    for i, (x, y) in enumerate(path):
        print(f"step {i}   ({x:9.6f}, {y:9.6f})   height {rosenbrock((x, y)):.3e}")
    print(f"Newton: ({x:.6f}, {y:.6f}) in {len(path) - 1} steps")

    path = follow(downhill, start, limit)
    x, y = path[-1]
    print(f"gradient descent: ({x:.6f}, {y:.6f}) in {len(path) - 1} steps")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Newton's method on Rosenbrock's valley.")
    parser.add_argument("--short", action="store_true", help="give up after 1,000 steps")
    main(1_000 if parser.parse_args().short else 100_000)
