"""The process's decomposition is what its own mean function gives, and near the truth."""

from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from analysis.surrogates import gaussian_process, likelihood
from analysis.surrogates.encoding import Array, make_column
from analysis.surrogates.gaussian_process import GaussianProcessSurrogate, fit_gaussian_process
from analysis.surrogates.likelihood import Posterior
from tests.uniform_draws import draw, hold_mean_curve

MIXED = (
    make_column("a", FloatDistribution(0, 1)),
    make_column("b", CategoricalDistribution(["x", "y", "z"])),
    make_column("c", IntDistribution(1, 4, log=True)),
)
CONTINUOUS = tuple(make_column(name, FloatDistribution(0, 1)) for name in "abcd")


def mixed_values(units: Array) -> Array:
    """Return an objective with main effects and an interaction."""
    return np.asarray(np.sin(5 * units[:, 0]) * (1 + units[:, 1]) + 2 * units[:, 2])


@pytest.fixture(scope="module")
def fitted() -> GaussianProcessSurrogate:
    """Return a process on a continuous, a categorical and a log-scaled integer parameter."""
    units = draw(MIXED, 50, 0)
    noise = np.random.default_rng(1).normal(size=50)
    return fit_gaussian_process(units, mixed_values(units) + 0.1 * noise, MIXED)


def test_the_gradient_is_exact() -> None:
    """Analytic derivatives of the log posterior agree with finite differences."""
    from scipy.optimize import approx_fprime

    units = draw(MIXED, 30, 0)
    values = mixed_values(units)
    values = (values - values.mean()) / values.std()
    posterior = Posterior(gaussian_process._axes(units, MIXED), values)
    theta = np.random.default_rng(0).normal(-1.0, 0.3, size=8)
    numeric = approx_fprime(theta, lambda t: posterior(t)[0], 1e-6)
    assert posterior(theta)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-4)


def test_the_posterior_is_that_of_the_process(fitted: GaussianProcessSurrogate) -> None:
    """Between two fits it differs by the values' density and the prior's, each in plain words."""
    from scipy.stats import multivariate_normal

    def plain(theta: Array) -> float:
        at = GaussianProcessSurrogate(fitted.columns, fitted.axes, fitted.values, theta)
        off = (theta - likelihood._prior(3)[:, 0]) / likelihood._prior(3)[:, 1]
        covariance = at.factor @ at.factor.T
        return float(0.5 * off @ off - multivariate_normal(cov=covariance).logpdf(standardised))

    standardised = (fitted.values - fitted.centre) / fitted.unit
    posterior, other = Posterior(fitted.axes, standardised), fitted.theta - 0.3
    expected = plain(other) - plain(fitted.theta)
    assert posterior(other)[0] - posterior(fitted.theta)[0] == pytest.approx(expected, rel=1e-9)


def test_shares_are_those_of_the_mean_function(fitted: GaussianProcessSurrogate) -> None:
    """Total, main effects and a pair agree with a brute-force integral of the prediction."""
    shares = fitted.shares()
    assert MIXED[1].positions is not None
    assert MIXED[2].positions is not None
    a, b, c = np.meshgrid(
        (np.arange(200) + 0.5) / 200, MIXED[1].positions, MIXED[2].positions, indexing="ij"
    )
    grid = np.stack([a.ravel(), b.ravel(), c.ravel()], axis=1)  # (200 · 3 · 4, 3)
    f = np.concatenate([fitted.predict(part) for part in np.array_split(grid, 8)])
    f = f.reshape(200, 3, 4)
    weight = np.broadcast_to(MIXED[2].weights, f.shape) / 600  # type: ignore[arg-type]
    f = f - (f * weight).sum()
    total = (f**2 * weight).sum() / (1 - shares.noise)
    assert shares.variance == pytest.approx(total, rel=1e-3)
    by_a = (f * weight).sum(axis=(1, 2)) * 200
    assert shares.main[0] == pytest.approx(np.mean(by_a**2) / total, rel=1e-2)
    by_ab = (f * weight).sum(axis=2) * 600
    own = np.mean(by_ab**2) / total - shares.main[0] - shares.main[1]
    assert shares.pairs[0, 1] == pytest.approx(own, rel=1e-2, abs=1e-5)


def test_all_shares_and_the_noise_add_up_to_one(fitted: GaussianProcessSurrogate) -> None:
    """Nothing of the stated whole is lost or counted twice."""
    shares = fitted.shares()
    pairs = shares.pairs[np.triu_indices(3, 1)].sum()
    assert shares.main.sum() + pairs + fitted.share_of((0, 1, 2)) + shares.noise == pytest.approx(1)
    assert fitted.share_of((0, 1)) == pytest.approx(shares.pairs[0, 1])


def test_a_curve_is_the_mean_prediction_with_one_parameter_fixed(
    fitted: GaussianProcessSurrogate,
) -> None:
    """The marginal of a level is the average over everything else."""
    hold_mean_curve(fitted, MIXED, 1, draw(MIXED, 4000, 5), within=0.03)


def test_leave_one_out_is_a_refit_without_the_trial() -> None:
    """The closed form equals predicting a trial from all others under the same hyperparameters."""
    units = draw(CONTINUOUS[:2], 20, 0)
    values = units[:, 0] + np.sin(7 * units[:, 1])
    whole = fit_gaussian_process(units, values, CONTINUOUS[:2])
    axes = gaussian_process._axes(units[1:], CONTINUOUS[:2])
    scaled = (values - whole.centre) / whole.unit
    part = GaussianProcessSurrogate(CONTINUOUS[:2], axes, values[1:], whole.theta)
    # the part standardises by its own mean: undo it, to compare the same model
    object.__setattr__(part, "values", scaled[1:])
    part.__dict__.update(centre=0.0, unit=1.0)
    expected = scaled[0] - part.predict(units[:1])[0]
    assert whole.leave_one_out()[0] / whole.unit == pytest.approx(expected, rel=1e-5)


def ishigami(u: Array) -> Array:
    """Return the function of Ishigami, Homma (1990); shares 0.3139, 0.4424, 0, pair 0.2437."""
    x = (2 * u - 1) * np.pi
    return np.asarray(
        np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    )


def sobol_g(u: Array) -> Array:
    """Return Sobol's g-function with a = 0, 1, 4.5, 9."""
    a = np.array([0, 1, 4.5, 9])
    return np.asarray(np.prod((np.abs(4 * u - 2) + a) / (1 + a), axis=1))


@pytest.mark.parametrize(
    ("function", "columns", "truth", "tolerance"),
    [
        (ishigami, CONTINUOUS[:3], [0.3139, 0.4424, 0.0], 0.06),
        (sobol_g, CONTINUOUS, [0.7165, 0.1791, 0.0237, 0.0072], 0.03),
        (lambda u: 2 * u[:, 0] + u[:, 1], CONTINUOUS[:3], [0.8, 0.2, 0.0], 0.002),
        (lambda u: (0.5 + u[:, 0]) * (0.5 + u[:, 1]), CONTINUOUS[:2], [0.48, 0.48], 0.002),
    ],
)
def test_known_sobol_indices(function: Any, columns: Any, truth: Any, tolerance: float) -> None:
    """A hundred trials of an analytic function give its Sobol indices."""
    units = draw(columns, 100, 0)
    shares = fit_gaussian_process(units, function(units), columns).shares()
    assert shares.main == pytest.approx(truth, abs=tolerance)


def test_noise_is_told_from_signal() -> None:
    """The noise's share is what was added, the effect's is the rest."""
    units = draw(CONTINUOUS[:2], 150, 0)
    signal = np.sqrt(12) * units[:, 0]
    noise = np.random.default_rng(2).normal(size=150)
    values = signal + noise
    added = float(noise.var() / values.var())  # 0.40 of these values
    shares = fit_gaussian_process(units, values, CONTINUOUS[:2]).shares()
    assert shares.noise == pytest.approx(added, abs=0.05)
    assert shares.main[0] == pytest.approx(1 - added, abs=0.05)


def test_pure_noise_has_no_shares() -> None:
    """Where nothing depends on anything the mean is flat."""
    units = draw(CONTINUOUS, 80, 0)
    shares = fit_gaussian_process(
        units, np.random.default_rng(3).normal(size=80), CONTINUOUS
    ).shares()
    assert shares.main.sum() < 0.1


def test_draws_scatter_around_the_estimate(fitted: GaussianProcessSurrogate) -> None:
    """Posterior draws of the shares are centred on the shares."""
    drawn = fitted.draw_shares(500, np.random.default_rng(0))
    assert drawn.shape == (500, 3)
    assert drawn.mean(axis=0) == pytest.approx(fitted.shares().main, abs=0.02)


def test_many_trials_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a random part of the trials is used, the same for the same seed."""
    monkeypatch.setattr(gaussian_process, "MAX_TRIALS", 40)
    units = draw(CONTINUOUS[:2], 100, 0)
    one, two = (fit_gaussian_process(units, units.sum(axis=1), CONTINUOUS[:2]) for _ in range(2))
    assert len(one.values) == 40
    assert np.array_equal(one.values, two.values)


def test_equal_values_and_equal_points_do_not_break_it() -> None:
    """A constant objective and duplicated points have finite answers."""
    units = np.repeat(draw(CONTINUOUS[:2], 5, 0), 4, axis=0)
    for values in (np.ones(20), units[:, 0]):
        shares = fit_gaussian_process(units, values, CONTINUOUS[:2]).shares()
        assert np.all(np.isfinite(shares.main))


def test_a_plane_is_the_mean_over_two_grids(fitted: GaussianProcessSurrogate) -> None:
    """One product of matrices gives what single predictions give."""
    unit = draw(MIXED, 3, 5)[1]
    first, second = MIXED[0].grid(), MIXED[2].grid()
    at = fitted.factors_at(unit)
    points = np.array([[a, unit[1], c] for a in first for c in second])
    expected = fitted.predict(points).reshape(len(first), len(second))
    assert fitted.plane(at, 0, 2) == pytest.approx(expected, abs=1e-9)
    points = np.array([[unit[0], b, unit[2]] for b in MIXED[1].grid()])
    assert fitted.plane(at, 1)[:, 0] == pytest.approx(fitted.predict(points), abs=1e-9)


def test_the_joint_posterior_has_the_mean_and_spread_of_each_point(
    fitted: GaussianProcessSurrogate,
) -> None:
    """Its diagonal is the square of `marginal`'s standard deviation."""
    units = draw(MIXED, 7, 6)
    mean, covariance = fitted.posterior(units)
    alone, deviation = fitted.marginal(range(3), units)
    assert mean == pytest.approx(alone)
    assert np.diag(covariance) == pytest.approx(deviation**2, abs=1e-9)
    assert np.linalg.eigvalsh(covariance).min() > -1e-8
